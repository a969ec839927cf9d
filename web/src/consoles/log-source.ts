import { Failure } from '../kubernetes/failure';
import type { KubernetesObject, ObjectList } from '../kubernetes/object';
import { collectionPath, objectPath, RESOURCES, subresourcePath } from '../kubernetes/resource';
import { open, send } from '../kubernetes/request';

/** The container of a launcher pod whose log is the guest's serial line, from its first byte. */
const CONTAINER = 'guest-console-log';
/** On a launcher pod: the VMI's name, or a hash of it when it is long. */
const NAME_LABEL = 'vmi.kubevirt.io/id';

/** Which part of a log is wanted, in the words of the API's `pods/log`; without `tailLines` it begins with the first byte. */
interface Wanted {
  follow?: 'true';
  tailLines?: string;
}

/** Opens the guest's serial log: the machine's own, or where that is not served, its pod's. Throws {@link Failure}. */
export async function openLog(namespace: string, name: string, wanted: Wanted, signal: AbortSignal): Promise<Response> {
  const questions = new URLSearchParams({ ...wanted });
  const accept = 'text/plain, */*';
  try {
    const path = subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, 'log');
    return await open(`${path}?${questions}`, { accept, signal });
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code !== 404) throw failure;
    const pod = await launcherPod(namespace, name, signal);
    if (pod === undefined) throw failure;
    return open(`${objectPath(RESOURCES.pods, namespace, pod)}/log?container=${CONTAINER}&${questions}`, { accept, signal });
  }
}

/** Bytes, and lines, of the log that a terminal begins with: some screens full. */
const SHOWN_BYTES = 16 * 1024;
const SHOWN_LINES = 400;

/** The end of the guest's serial log, as it is now: {@link SHOWN_BYTES} at most. Throws {@link Failure}. */
export async function latestLog(namespace: string, name: string, signal: AbortSignal): Promise<Uint8Array> {
  const response = await openLog(namespace, name, { tailLines: String(SHOWN_LINES) }, signal);
  const reader = response.body?.getReader();
  let end: Uint8Array = new Uint8Array();
  let length = 0;
  for (;;) {
    const piece = await reader?.read();
    if (piece === undefined || piece.done) return length > SHOWN_BYTES ? fromWholeLine(end) : end;
    length += piece.value.length;
    end = endOf(end, piece.value, SHOWN_BYTES);
  }
}

/** The last bytes of `before` with `piece` after it, `most` of them. Pure. */
export function endOf(before: Uint8Array, piece: Uint8Array, most: number): Uint8Array {
  const after = piece.subarray(Math.max(0, piece.length - most));
  const kept = before.subarray(Math.max(0, before.length + after.length - most));
  const end = new Uint8Array(kept.length + after.length);
  end.set(kept);
  end.set(after, kept.length);
  return end;
}

/** Without the line at the beginning, which is not whole: it may begin within a character or an escape sequence. Pure. */
export function fromWholeLine(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(bytes.indexOf(0x0a) + 1);
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
