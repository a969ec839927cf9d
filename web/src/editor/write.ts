import { Failure } from '../kubernetes/failure';
import type { KubernetesObject } from '../kubernetes/object';
import { type Answer, send } from '../kubernetes/request';
import { collectionPath, objectPath, type ResourceType } from '../kubernetes/resource';
import { isSameWork, onto } from './rebase';

/** Which object is edited. Without a name a new one is made. */
export interface Edited {
  type: ResourceType;
  namespace: string | undefined;
  name?: string | undefined;
}

/** What came of a write: done, or somebody else has changed the object since. */
export type Written = { is: 'done'; answer: Answer<KubernetesObject> } | { is: 'conflict'; theirs: KubernetesObject };

/** Reads the object as it is. Throws {@link Failure}. */
export async function read(edited: Edited): Promise<KubernetesObject> {
  return (await send<KubernetesObject>(objectPath(edited.type, edited.namespace, edited.name ?? ''))).body;
}

/**
 * Writes the whole object, or with `isDry` lets the server only say what it would become. `base` is the version the
 * change began with: if since then only the status has changed, the change is made to the newer version. Throws {@link Failure}.
 */
export async function write(edited: Edited, base: KubernetesObject | undefined, wanted: KubernetesObject, isDry: boolean): Promise<Written> {
  const query = isDry ? '?dryRun=All' : '';
  if (edited.name === undefined) {
    const path = collectionPath(edited.type, wanted.metadata.namespace ?? edited.namespace);
    return { is: 'done', answer: await send(`${path}${query}`, { method: 'POST', body: wanted }) };
  }
  const path = `${objectPath(edited.type, edited.namespace, edited.name)}${query}`;
  try {
    return { is: 'done', answer: await send(path, { method: 'PUT', body: wanted }) };
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code !== 409 || failure.reason !== 'Conflict') throw failure;
    const theirs = await read(edited);
    if (base === undefined || !isSameWork(base, theirs)) return { is: 'conflict', theirs };
    return { is: 'done', answer: await send(path, { method: 'PUT', body: onto(theirs, wanted) }) };
  }
}
