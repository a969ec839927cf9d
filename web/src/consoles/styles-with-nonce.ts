/** The nonce that the server gave this page for style sheets made by scripts. */
export function nonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';
}

/**
 * Does `act` while every style element that is created carries the page's nonce. xterm 6 makes its style sheets
 * without one (its issues 4445, 4133), and the content security policy would block them; the nonce must be there
 * before the element is inserted. `act` must be synchronous.
 */
export function stylesWithNonce(act: () => void): void {
  const original = document.createElement;
  function withNonce(this: Document, name: string, options?: ElementCreationOptions): HTMLElement {
    const element = original.call(this, name, options);
    if (element instanceof HTMLStyleElement) element.nonce = nonce();
    return element;
  }
  document.createElement = withNonce as typeof document.createElement;
  try {
    act();
  } finally {
    document.createElement = original;
  }
}
