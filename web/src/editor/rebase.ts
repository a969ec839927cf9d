import type { KubernetesObject } from '../kubernetes/object';

/** Do two versions of an object differ only in what nobody writes by hand: status, version, managed fields? */
export function isSameWork(a: KubernetesObject, b: KubernetesObject): boolean {
  return canonical(written(a)) === canonical(written(b));
}

function written(object: KubernetesObject): object {
  const { status: _, ...rest } = object as KubernetesObject & { status?: unknown };
  const { resourceVersion: _version, managedFields: _fields, ...metadata } = rest.metadata;
  return { ...rest, metadata };
}

/** JSON with sorted keys: equal values have equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** `mine` as a change of `theirs`. */
export function onto(theirs: KubernetesObject, mine: KubernetesObject): KubernetesObject {
  const { resourceVersion } = theirs.metadata;
  return { ...mine, metadata: { ...mine.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) } };
}
