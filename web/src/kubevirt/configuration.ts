import type { Condition, KubernetesObject } from '../kubernetes/object';
import type { EmulationPolicy } from './machine';

/** The installation and its configuration. */
export interface KubeVirt extends KubernetesObject {
  spec?: {
    configuration?: {
      emulationPolicy?: EmulationPolicy;
      emulationMultiTenancy?: string;
      developerConfiguration?: { useEmulation?: boolean; featureGates?: string[] };
    };
  };
  status?: {
    phase?: string;
    conditions?: Condition[];
    operatorVersion?: string;
    observedKubeVirtVersion?: string;
    defaultArchitecture?: string;
    emulation?: { policy: EmulationPolicy; decidedBy: string; problems?: { reason: string; message: string }[] };
    effectiveConfiguration?: { field: string; value: string; from: string }[];
  };
}

/** Is a feature gate on? By what is in force, wherever it was written. */
export function hasFeature(kubeVirt: KubeVirt | undefined, gate: string): boolean {
  const gates = kubeVirt?.status?.effectiveConfiguration?.find(({ field }) => field.endsWith('developerConfiguration.featureGates'));
  return gates?.value.split(/[\s,]+/).includes(gate) ?? false;
}

/** Settings as keys and values. */
export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
  binaryData?: Record<string, string>;
}

/** The ConfigMap of the article. */
export const SWITCH_MAP = { namespace: 'openshift-cnv', name: 'kubevirt-config' } as const;
/** Its key that permits emulation. */
export const SWITCH = 'debug.useEmulation';
/** On that ConfigMap: that `auto` set the switch, when and why. */
export const SET_BY = 'anyvirt.io/emulation-set-by';

/** The KubeVirt object in force: the one with the usual name, else the first by namespace and name. */
export function kubeVirtOf(objects: ReadonlyMap<string, KubeVirt>): KubeVirt | undefined {
  const usual = objects.get('kubevirt/kubevirt');
  if (usual !== undefined) return usual;
  const [first] = [...objects.keys()].sort();
  return first === undefined ? undefined : objects.get(first);
}
