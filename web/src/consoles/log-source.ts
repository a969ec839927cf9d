import { Failure } from '../kubernetes/failure';
import type { KubernetesObject, ObjectList } from '../kubernetes/object';
import { collectionPath, objectPath, RESOURCES, subresourcePath } from '../kubernetes/resource';
import { open, send } from '../kubernetes/request';

/** The container of a launcher pod whose log is the guest's serial line, from its first byte. */
const CONTAINER = 'guest-console-log';
/** On a launcher pod: the VMI's name, or a hash of it when it is long. */
const NAME_LABEL = 'vmi.kubevirt.io/id';

/**
 * Opens the guest's serial log from its first byte, and goes on as long as the guest writes: the machine's own log, or
 * where that is not served, its pod's. Throws {@link Failure}.
 */
export async function openLog(namespace: string, name: string, signal: AbortSignal): Promise<Response> {
  const accept = 'text/plain, */*';
  try {
    const path = subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, 'log');
    return await open(`${path}?follow=true`, { accept, signal });
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code !== 404) throw failure;
    const pod = await launcherPod(namespace, name, signal);
    if (pod === undefined) throw failure;
    const query = new URLSearchParams({ container: CONTAINER, follow: 'true' });
    return open(`${objectPath(RESOURCES.pods, namespace, pod)}/log?${query}`, { accept, signal });
  }
}

/** The name of the latest pod that runs the machine. */
async function launcherPod(namespace: string, name: string, signal: AbortSignal): Promise<string | undefined> {
  const query = new URLSearchParams({ labelSelector: `${NAME_LABEL}=${name}` });
  const { body } = await send<ObjectList<KubernetesObject>>(`${collectionPath(RESOURCES.pods, namespace)}?${query}`, { signal });
  return latestPod(body.items);
}

/** The pod that was made last. */
export function latestPod(pods: readonly KubernetesObject[]): string | undefined {
  const time = (pod: KubernetesObject): string => pod.metadata.creationTimestamp ?? '';
  return [...pods].sort((a, b) => (time(a) < time(b) ? 1 : -1))[0]?.metadata.name;
}
