import { RESOURCES, subresourcePath } from '../kubernetes/resource';

/** Subprotocol of KubeVirt's streams. */
export const PLAIN = 'plain.kubevirt.io';

/** The address of a guest's screen or serial line, on the server that this page is from. */
export function streamAddress(
  place: { protocol: string; host: string },
  namespace: string,
  name: string,
  stream: 'vnc' | 'console',
  query: Readonly<Record<string, string>> = {},
): string {
  const scheme = place.protocol === 'https:' ? 'wss:' : 'ws:';
  const path = subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, stream);
  const questions = new URLSearchParams(query).toString();
  return `${scheme}//${place.host}${path}${questions === '' ? '' : `?${questions}`}`;
}
