import type { EmulationPolicy } from '../kubevirt/machine';
import { t } from '../words/words';

/** What a machine may say of emulation; empty: nothing. */
export const EMULATION_POLICIES: readonly (EmulationPolicy | '')[] = ['', 'None', 'Hardware', 'Software'];

/** What each of {@link EMULATION_POLICIES} means for one machine. */
export function emulationPolicyLabel(policy: string): string {
  return {
    '': t("as the cluster's settings say"),
    None: t('None: hardware virtualization only'),
    Hardware: t('Hardware: hardware virtualization only'),
    Software: t('Software: emulated where hardware virtualization does not work'),
  }[policy] ?? policy;
}
