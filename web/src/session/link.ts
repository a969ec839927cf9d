/** The key in the fragment of a one-time link (`#otk=KEY`), if it is one. */
export function keyInFragment(fragment: string): string | undefined {
  const key = new URLSearchParams(fragment.replace(/^#/, '')).get('otk');
  return key === null || key === '' ? undefined : key;
}

/** Did the address before have a secret in it? The server leads such ones here (crates/console/src/route.rs). */
export function toldSecret(fragment: string): boolean {
  return fragment === '#secret-in-address';
}

/** Where a login leads: a path of this console, never another site or the login itself. */
export function destination(wanted: string | undefined): string {
  const isOwn = wanted !== undefined && /^\/(?![/\\])/.test(wanted) && !wanted.startsWith('/login');
  return isOwn ? wanted : '/overview';
}
