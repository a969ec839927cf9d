/** The key in the fragment of a one-time link (`#otk=KEY`), if it is one. */
export function keyInFragment(fragment: string): string | undefined {
  const key = new URLSearchParams(fragment.replace(/^#/, '')).get('otk');
  return key === null || key === '' ? undefined : key;
}

/** Where a login leads: a path of this console, never another site or the login itself. */
export function destination(wanted: string | undefined): string {
  const isOwn = wanted !== undefined && /^\/(?![/\\])/.test(wanted) && !wanted.startsWith('/login');
  return isOwn ? wanted : '/overview';
}
