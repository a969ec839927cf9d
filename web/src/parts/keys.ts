/** What a key, or two keys one after the other, lead to. */
export type Keyed = { type: 'go'; to: string } | { type: 'help' } | { type: 'filter' } | { type: 'create' } | { type: 'wait'; first: string } | { type: 'none' };

const GO: Readonly<Record<string, string>> = {
  o: '/overview', v: '/machines', c: '/k8s/all-namespaces/configmaps', e: '/events', n: '/nodes', i: '/images', s: '/settings',
};

/** What `key` means after `first` (empty if no sequence has begun). Pure. */
export function meaning(first: string, key: string): Keyed {
  if (first === 'g') {
    const to = GO[key];
    return to === undefined ? { type: 'none' } : { type: 'go', to };
  }
  if (key === 'g') return { type: 'wait', first: 'g' };
  if (key === '?') return { type: 'help' };
  if (key === '/') return { type: 'filter' };
  if (key === 'c') return { type: 'create' };
  return { type: 'none' };
}

/** Does somebody type into this element, or drive a console with it? Then keys are not shortcuts. */
export function takesKeys(element: { tagName: string; isContentEditable?: boolean; closest(selector: string): unknown } | null): boolean {
  if (element === null) return false;
  if (['INPUT', 'TEXTAREA', 'SELECT'].includes(element.tagName)) return true;
  return element.isContentEditable === true || element.closest('[data-takes-keys],[role=menu],[role=dialog]') !== null;
}

/** What of a keyboard event decides whether it confirms. */
export interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  repeat: boolean;
}

/** Is it Ctrl+Enter, or Command+Enter, pressed or held? */
export function isConfirmingKey(press: Press): boolean {
  return press.key === 'Enter' && (press.ctrlKey || press.metaKey);
}

/** Does it confirm what is shown? A key that is held was pressed for what was shown before, so that it does not. */
export function confirms(press: Press): boolean {
  return isConfirmingKey(press) && !press.repeat;
}
