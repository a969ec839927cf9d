import { Failure } from './failure';
import type { KubernetesObject } from './object';
import { type Answer, send } from './request';
import { collectionPath, RESOURCES } from './resource';

/** A merge patch (RFC 7396): what it names becomes so, `null` takes away. */
export type MergePatch = Readonly<Record<string, unknown>>;

/** A JSON patch (RFC 6902): steps, done in their order or not at all. */
export type JsonPatch = readonly { op: string; path: string; value?: unknown }[];

/** Patches the object at `path`, or with `isDry` lets the server only say what it would become. Throws {@link Failure}. */
export function patchObject(path: string, patch: MergePatch | JsonPatch, isDry: boolean, signal?: AbortSignal): Promise<Answer<KubernetesObject>> {
  const contentType = Array.isArray(patch) ? 'application/json-patch+json' : 'application/merge-patch+json';
  return send(asked(path, isDry), { method: 'PATCH', body: patch, contentType, ...(signal === undefined ? {} : { signal }) });
}

/** The same, but a ConfigMap that does not exist is made. Throws {@link Failure}. */
export async function writePatch(path: string, patch: MergePatch | JsonPatch, isDry: boolean, signal?: AbortSignal): Promise<Answer<KubernetesObject>> {
  try {
    return await patchObject(path, patch, isDry, signal);
  } catch (thrown) {
    const made = Failure.of(thrown).code === 404 && !Array.isArray(patch) ? madeBy(path, patch as MergePatch) : undefined;
    if (made === undefined) throw thrown;
    return send(asked(made.path, isDry), { method: 'POST', body: made.object, ...(signal === undefined ? {} : { signal }) });
  }
}

function asked(path: string, isDry: boolean): string {
  return isDry ? `${path}?dryRun=All` : path;
}

/**
 * The ConfigMap that `patch` makes where there is none at `path`, and where it is made. `undefined` for other kinds:
 * of a machine or an installation, a patch alone would make half of one. Pure.
 */
export function madeBy(path: string, patch: MergePatch): { path: string; object: KubernetesObject } | undefined {
  const [, space, last] = /^\/api\/v1\/namespaces\/([^/]+)\/configmaps\/([^/]+)$/.exec(path) ?? [];
  if (space === undefined || last === undefined) return undefined;
  const namespace = decodeURIComponent(space);
  const { metadata, ...rest } = withoutNulls(patch) as { metadata?: object };
  return {
    path: collectionPath(RESOURCES.configMaps, namespace),
    object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...metadata, name: decodeURIComponent(last), namespace }, ...rest },
  };
}

function withoutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== null).map(([key, part]) => [key, withoutNulls(part)]));
}
