import { useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useRef, useState } from 'react';

import { meaning, takesKeys } from './keys';

const ShortcutsDialog = lazy(async () => ({ default: (await import('./shortcuts-dialog')).ShortcutsDialog }));

const STORED_AS = 'anyvirt.shortcuts';
/** Milliseconds between the two keys of a sequence. */
const SEQUENCE = 1200;

/** Where `/` leads: the filter of a list page carries this attribute. */
export const FILTER = 'data-filter';

/** Are single keys shortcuts? A person may switch them off (WCAG 2.1.4), in every part of the console. */
export function singleKeysAreOn(): boolean {
  try {
    return localStorage.getItem(STORED_AS) !== 'off';
  } catch {
    return true;
  }
}

/** Listens for single keys, and explains them. Single keys can be switched off (WCAG 2.1.4). */
export function Shortcuts(props: { isOpen: boolean; onOpen: (open: boolean) => void }): React.JSX.Element | null {
  const { isOpen, onOpen } = props;
  const [on, setOn] = useState(singleKeysAreOn);
  const navigate = useNavigate();
  const sequence = useRef({ first: '', at: 0 });
  useEffect(() => {
    if (!on) return undefined;
    function pressed(event: KeyboardEvent): void {
      if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
      if (takesKeys(event.target as HTMLElement | null)) return;
      const { first, at } = sequence.current;
      const keyed = meaning(Date.now() - at < SEQUENCE ? first : '', event.key);
      sequence.current = { first: keyed.type === 'wait' ? keyed.first : '', at: Date.now() };
      if (keyed.type === 'none' || keyed.type === 'wait') return;
      event.preventDefault();
      if (keyed.type === 'go') void navigate({ to: keyed.to });
      else if (keyed.type === 'create') void navigate({ to: '/create' });
      else if (keyed.type === 'help') onOpen(true);
      else document.querySelector<HTMLInputElement>(`[${FILTER}] input`)?.focus();
    }
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, [on, navigate, onOpen]);

  function switchTo(next: boolean): void {
    setOn(next);
    try {
      localStorage.setItem(STORED_AS, next ? 'on' : 'off');
    } catch {
      // The choice lasts as long as the page.
    }
  }

  if (!isOpen) return null;
  return (
    <Suspense fallback={null}>
      <ShortcutsDialog on={on} onSwitch={switchTo} onClose={() => onOpen(false)} />
    </Suspense>
  );
}
