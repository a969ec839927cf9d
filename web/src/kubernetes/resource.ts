/** A kind of objects and where the API serves it. */
export interface ResourceType {
  /** Empty for the core group. */
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
}

function resource(group: string, version: string, plural: string, kind: string, namespaced = true): ResourceType {
  return { group, version, plural, kind, namespaced };
}

/** The kinds that pages know. */
export const RESOURCES = {
  virtualMachines: resource('kubevirt.io', 'v1', 'virtualmachines', 'VirtualMachine'),
  virtualMachineInstances: resource('kubevirt.io', 'v1', 'virtualmachineinstances', 'VirtualMachineInstance'),
  kubeVirts: resource('kubevirt.io', 'v1', 'kubevirts', 'KubeVirt'),
  configMaps: resource('', 'v1', 'configmaps', 'ConfigMap'),
  secrets: resource('', 'v1', 'secrets', 'Secret'),
  events: resource('', 'v1', 'events', 'Event'),
  nodes: resource('', 'v1', 'nodes', 'Node', false),
  namespaces: resource('', 'v1', 'namespaces', 'Namespace', false),
  pods: resource('', 'v1', 'pods', 'Pod'),
  snapshots: resource('snapshot.kubevirt.io', 'v1beta1', 'virtualmachinesnapshots', 'VirtualMachineSnapshot'),
  restores: resource('snapshot.kubevirt.io', 'v1beta1', 'virtualmachinerestores', 'VirtualMachineRestore'),
  warmStartTemplates: resource('anyvirt.io', 'v1alpha1', 'warmstarttemplates', 'WarmStartTemplate'),
} as const;

/** The group of start, stop, console and the other verbs on virtual machines. */
export const SUBRESOURCES_GROUP = 'subresources.kubevirt.io';

/** `v1`, or `group/v1`. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** The address of all objects of a kind, in one namespace or in all. */
export function collectionPath(type: ResourceType, namespace?: string): string {
  const base = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const within = type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${base}${within}/${type.plural}`;
}

/** The address of one object. */
export function objectPath(type: ResourceType, namespace: string | undefined, name: string): string {
  return `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
}

/** The kind and the namespace of the object at an address; `undefined` if no page knows its kind. Pure. */
export function resourceAt(path: string): { type: ResourceType; namespace: string | undefined } | undefined {
  const [, group = '', namespace, plural] = /^\/(?:api|apis\/([^/]+))\/[^/]+(?:\/namespaces\/([^/]+))?\/([^/]+)\/[^/]+$/.exec(path) ?? [];
  const type = Object.values(RESOURCES).find((one) => one.group === group && one.plural === plural);
  return type === undefined ? undefined : { type, namespace };
}

/** The address of a verb on a virtual machine or an instance of one. */
export function subresourcePath(type: ResourceType, namespace: string, name: string, verb: string): string {
  return `${objectPath({ ...type, group: SUBRESOURCES_GROUP, version: 'v1' }, namespace, name)}/${verb}`;
}
