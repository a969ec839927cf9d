import { Alert } from '@patternfly/react-core';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { pillOf } from '../kubevirt/acceleration';
import { type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import { type Node, SLOWDOWN } from '../kubevirt/node';
import { quantity } from '../words/measures';
import { t } from '../words/words';
import { PlainBadge } from './badge';

/** Processors beyond which an emulated guest gains little: each busy one costs a core. */
const EMULATED_PROCESSORS = 2;

/** How a machine of that size would run here, and why. */
export function Forecast(props: { cores: number; memory: string }): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const all = [...nodes.objects.values()];
  const badge = pillOf(kubeVirtOf(kubeVirts.objects), all);
  const slowdown = all.map((node) => node.metadata.annotations?.[SLOWDOWN]).find((value) => value !== undefined);
  const largest = Math.max(0, ...all.map((node) => quantity(node.status?.allocatable?.memory) ?? 0));
  const wanted = quantity(props.memory) ?? 0;
  return (
    <>
      <div className="av-row">
        <span>{t('It will run:')}</span> <PlainBadge badge={badge} />
        {badge.tone === 'slow' && slowdown !== undefined && <span>{t('about {n} times slower than KVM here', { n: slowdown })}</span>}
      </div>
      <details>
        <summary>{t('Why?')}</summary>
        <p className="av-wrap av-small">{badge.why}</p>
      </details>
      {badge.tone === 'bad' && <Alert variant="warning" isInline title={t('It will wait until hardware virtualization works, or emulation is permitted.')} />}
      {badge.tone === 'slow' && props.cores > EMULATED_PROCESSORS && <Alert variant="warning" isInline title={t('Emulated processors are slow, and each busy one costs a core: {n} or fewer are advisable.', { n: EMULATED_PROCESSORS })} />}
      {largest > 0 && wanted > largest && <Alert variant="warning" isInline title={t('No node has that much memory.')} />}
    </>
  );
}
