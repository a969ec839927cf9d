import { latestLog, latestPod } from '../consoles/log-source';
import { Failure } from '../kubernetes/failure';
import type { KubernetesObject, ObjectList } from '../kubernetes/object';
import { send, open } from '../kubernetes/request';
import { collectionPath, objectPath, RESOURCES, type ResourceType } from '../kubernetes/resource';
import { type Event, eventsAbout, latestFirst } from '../kubevirt/event';
import type { Machine, VirtualMachine, VirtualMachineInstance } from '../kubevirt/machine';
import { LONGEST_TEXT, redacted, redactedText } from './redact';

/** Objects that are asked for at once. */
const PAGE = 500;
/** Objects of one list that are read at most: some megabytes. */
const MOST = 5000;
/** Bytes of a launcher's log that are read: twice what a launcher and its QEMU keep of theirs. */
const LOG_BYTES = 1024 * 1024;
/** What a launcher's log calls that with which it begins. */
const COMMAND_LINE = "QEMU's command line";
/** The container of a launcher pod that runs the launcher. */
const LAUNCHER = 'compute';
/** On a launcher pod: the VMI that it runs. */
const CREATED_BY = 'kubevirt.io/created-by';

/** What helps somebody who cannot look at the cluster to find what is wrong. */
export interface Bundle {
  kind: 'SupportBundle';
  about: string;
  madeAt: string;
  madeBy: string;
  /** What is in it, by name, with secrets redacted. */
  parts: Record<string, unknown>;
  /** What should be in it but could not be read, or not whole, and why. */
  missing: Record<string, string>;
}

interface Pod extends KubernetesObject {
  status?: { phase?: string };
}

/** Is told why a part is not whole. */
type Tell = (why: string) => void;

type Parts = readonly (readonly [name: string, read: (tell: Tell) => Promise<unknown>])[];

/** What is known of one machine, of what the user may read. `isWithSerial`: with the end of what its guest printed. */
export async function bundleOfMachine(machine: Machine, madeBy: string, isWithSerial: boolean, signal: AbortSignal): Promise<Bundle> {
  const { vm, vmi } = machine;
  const { name } = vm.metadata;
  const namespace = vm.metadata.namespace ?? 'default';
  const node = vmi?.status?.nodeName;
  const selector = vmi?.metadata.uid === undefined ? undefined : `${CREATED_BY}=${vmi.metadata.uid}`;
  const pods = (tell: Tell): Promise<Pod[]> => list<Pod>(RESOURCES.pods, namespace, { labelSelector: selector ?? '' }, tell, signal);
  const events = (about: string, tell: Tell): Promise<Event[]> => list<Event>(RESOURCES.events, namespace, { fieldSelector: `involvedObject.${about}` }, tell, signal);
  const parts: Parts = [
    ...common(signal),
    ['virtualMachine', () => one(RESOURCES.virtualMachines, namespace, name, signal)],
    ...(vmi === undefined ? [] : [['virtualMachineInstance', () => one(RESOURCES.virtualMachineInstances, namespace, name, signal)] as const]),
    ['explanation', () => get(`/console/api/explain?${new URLSearchParams({ namespace, name })}`, signal)],
    // By kind for its pods: those that are gone, whose names nobody knows, are often what matters.
    ['events', async (tell) => eventsAbout([...(await events(`name=${name}`, tell)), ...(await events('kind=Pod', tell))], name)],
    ...(node === undefined ? [] : [['node', () => one(RESOURCES.nodes, undefined, node, signal)] as const]),
    ...(selector === undefined
      ? []
      : ([
          ['pods', pods],
          ['launcherLog', async (tell: Tell) => launcherLog(namespace, await pods(tell), tell, signal)],
        ] as const)),
    ...(vmi !== undefined && isWithSerial ? [['serialLog', async () => new TextDecoder().decode(await latestLog(namespace, name, signal))] as const] : []),
  ];
  return gathered(`VirtualMachine ${namespace}/${name}`, madeBy, parts, signal);
}

/** What is known of the cluster as a whole, of what the user may read. */
export async function bundleOfCluster(madeBy: string, signal: AbortSignal): Promise<Bundle> {
  return gathered('cluster', madeBy, [
    ...common(signal),
    ['nodes', (tell) => list(RESOURCES.nodes, undefined, {}, tell, signal)],
    ['virtualMachines', async (tell) => (await list<VirtualMachine>(RESOURCES.virtualMachines, undefined, {}, tell, signal)).map(inShort)],
    ['virtualMachineInstances', async (tell) => (await list<VirtualMachineInstance>(RESOURCES.virtualMachineInstances, undefined, {}, tell, signal)).map(inShort)],
    ['warmStartTemplates', (tell) => list(RESOURCES.warmStartTemplates, undefined, {}, tell, signal)],
    ['warnings', async (tell) => latestFirst(await list<Event>(RESOURCES.events, undefined, { fieldSelector: 'type=Warning' }, tell, signal))],
  ], signal);
}

function common(signal: AbortSignal): Parts {
  return [
    ['apiVersion', () => get('/version', signal)],
    ['kubeVirtVersion', () => get('/apis/subresources.kubevirt.io/v1/version', signal)],
    ['kubeVirts', (tell) => list(RESOURCES.kubeVirts, undefined, {}, tell, signal)],
    ['emulationSwitch', () => one(RESOURCES.configMaps, 'openshift-cnv', 'kubevirt-config', signal)],
  ];
}

/** Reads one after the other; what cannot be read is told as missing. Throws only when it is aborted. */
async function gathered(about: string, madeBy: string, parts: Parts, signal: AbortSignal): Promise<Bundle> {
  const bundle: Bundle = { kind: 'SupportBundle', about, madeAt: new Date().toISOString(), madeBy, parts: {}, missing: {} };
  for (const [name, read] of parts) {
    const tell = (why: string): void => {
      bundle.missing[name] = redactedText(why);
    };
    try {
      bundle.parts[name] = redacted(await read(tell));
    } catch (thrown) {
      signal.throwIfAborted();
      tell(Failure.of(thrown).message);
    }
  }
  return bundle;
}

async function get(path: string, signal: AbortSignal): Promise<unknown> {
  return (await send<unknown>(path, { signal })).body;
}

function one(type: ResourceType, namespace: string | undefined, name: string, signal: AbortSignal): Promise<unknown> {
  return get(objectPath(type, namespace, name), signal);
}

/** Page by page, {@link MOST} at most; that there are more is told. */
async function list<T extends KubernetesObject>(type: ResourceType, namespace: string | undefined, query: Record<string, string>, tell: Tell, signal: AbortSignal): Promise<T[]> {
  const found: T[] = [];
  let token = '';
  do {
    const asked = new URLSearchParams({ ...query, limit: String(PAGE), pretty: 'false', ...(token === '' ? {} : { continue: token }) });
    const { body } = await send<ObjectList<T>>(`${collectionPath(type, namespace)}?${asked}`, { signal });
    found.push(...body.items);
    token = body.metadata.continue ?? '';
  } while (token !== '' && found.length < MOST);
  if (token !== '') tell(`only the first ${found.length} ${[type.plural, ...Object.values(query)].join(' with ')} were read: there are more`);
  return found;
}

/** What the latest launcher logged, from its beginning; nothing if it has not started, which its pod says. */
async function launcherLog(namespace: string, pods: readonly Pod[], tell: Tell, signal: AbortSignal): Promise<string> {
  const pod = latestPod(pods);
  const phase = pods.find(({ metadata }) => metadata.name === pod)?.status?.phase;
  if (pod === undefined || phase === undefined || phase === 'Pending') return '';
  const query = new URLSearchParams({ container: LAUNCHER, limitBytes: String(LOG_BYTES) });
  const response = await open(`${objectPath(RESOURCES.pods, namespace, pod)}/log?${query}`, { accept: 'text/plain, */*', signal });
  const log = await response.arrayBuffer();
  const text = new TextDecoder().decode(log);
  if (log.byteLength >= LOG_BYTES) tell(`only the first ${LOG_BYTES} bytes were read`);
  // A launcher lets the older half of its log go when there is too much of it.
  else if (text.length > LONGEST_TEXT && !text.includes(COMMAND_LINE)) tell(`${COMMAND_LINE} is not in it: the launcher keeps only the latest of what it logs`);
  return text;
}

/** A machine without what it is made of. Pure. */
export function inShort({ metadata, status }: VirtualMachine | VirtualMachineInstance): KubernetesObject & { status: unknown } {
  const { name, namespace, uid, creationTimestamp, deletionTimestamp } = metadata;
  return { metadata: { name, ...only({ namespace, uid, creationTimestamp, deletionTimestamp }) }, status };
}

function only<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** A name for the file of a bundle, which sorts by time. Pure. */
export function fileNameOf({ about, madeAt }: Bundle): string {
  const time = madeAt.slice(0, 19).replace(/[:T]/g, '-');
  return `anyvirt-support-${about.replace(/^VirtualMachine /, '').replace(/[^A-Za-z0-9.-]+/g, '_')}-${time}.json`;
}
