import type { KubernetesObject } from '../kubernetes/object';

/** Do two versions of an object differ only in what nobody writes by hand: status, version, managed fields? */
export function isSameWork(a: KubernetesObject, b: KubernetesObject): boolean {
  return canonical(written(a)) === canonical(written(b));
}

/**
 * Is `object` a later version of `base` that somebody else has changed? Kubernetes' versions are whole numbers that
 * grow (KEP-5504); of others nothing is known but whether they differ.
 */
export function isNews(object: KubernetesObject, base: KubernetesObject): boolean {
  return isLater(object.metadata.resourceVersion ?? '', base.metadata.resourceVersion ?? '') && !isSameWork(object, base);
}

/**
 * What becomes of a form that was filled from `base` when the server has `object`: nothing, it is filled anew (`take`),
 * or what was typed stays and the news is told (`tell`). `isHeld`: something in it would be lost. Pure.
 */
export function newsFor(isHeld: boolean, object: KubernetesObject, base: KubernetesObject): 'none' | 'take' | 'tell' {
  if (!isNews(object, base)) return 'none';
  return isHeld ? 'tell' : 'take';
}

function isLater(version: string, than: string): boolean {
  const isNumber = (text: string): boolean => /^\d+$/.test(text);
  return isNumber(version) && isNumber(than) ? BigInt(version) > BigInt(than) : version !== than;
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
