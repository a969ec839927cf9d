/** Characters of one text that are kept: a log's worth. Of what is longer, the beginning and the end. */
export const LONGEST_TEXT = 64 * 1024;
/** Characters of its beginning: a launcher's log begins with QEMU's command line. */
const BEGINNING = 16 * 1024;

/** Fields whose text is a secret, or may hold one: what a guest is set up with, passwords, keys. */
const SECRET_FIELD = /^(?:user|network|vendor)data(?:base64)?$|password|passphrase|passwd|private_?key|secret_?key|api_?key|credentials?$|^(?:bearer)?_?token$|^sysprep$|last-applied-configuration$/i;
/** Names of variables whose value is one. */
const SECRET_VARIABLE = /pass|token|secret|key|credential/i;
/** `https://name:password@host` */
const ADDRESS = /(\b[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*):[^/\s@]+@/gi;
/** `password: word`, `token=word`, `Authorization: Bearer word` and the like in logs and messages. */
const SAID = /\b((?:[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key))["']?\s*[:=]\s*|bearer\s+)(?:"[^"]*"|'[^']*'|[^\s"',;]+)/gi;
/** Keys and certificates as text. */
const BLOCK = /-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g;

/** What stands in the place of a secret. */
export const REDACTED = '(redacted)';

/** A text without the secrets that can be told by what stands before them, and of bounded length. Pure. */
export function redactedText(text: string): string {
  const clean = text.replace(BLOCK, REDACTED).replace(ADDRESS, `$1:${REDACTED}@`).replace(SAID, `$1${REDACTED}`);
  const excess = clean.length - LONGEST_TEXT;
  return excess <= 0 ? clean : `${clean.slice(0, BEGINNING)}\n(${excess} characters are left out here)\n${clean.slice(BEGINNING + excess)}`;
}

/** An object without secrets and without managed fields, which nobody reads. Pure. */
export function redacted(value: unknown): unknown {
  if (typeof value === 'string') return redactedText(value);
  if (Array.isArray(value)) return value.map(redacted);
  if (typeof value !== 'object' || value === null) return value;
  const isVariable = 'name' in value && typeof value.name === 'string' && SECRET_VARIABLE.test(value.name);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field]) => field !== 'managedFields')
      .map(([field, held]) => [field, (isVariable && field === 'value') || SECRET_FIELD.test(field) ? withoutText(held) : redacted(held)]),
  );
}

/** Everything below a secret field, its texts replaced: which fields there were may matter. */
function withoutText(value: unknown): unknown {
  if (typeof value === 'string') return value === '' ? '' : `${REDACTED} ${value.length} characters`;
  if (Array.isArray(value)) return value.map(withoutText);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, held]) => [field, withoutText(held)]));
}
