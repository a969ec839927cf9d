import { Alert } from '@patternfly/react-core';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { pillOf } from '../kubevirt/acceleration';
import { type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import type { VirtualMachineInstance } from '../kubevirt/machine';
import { type Node, SLOWDOWN } from '../kubevirt/node';
import { type Fit, fitOf, usualLogin } from '../kubevirt/usage';
import { bytes, duration, quantity } from '../words/measures';
import { t } from '../words/words';
import { PlainBadge } from './badge';

/** Processors beyond which an emulated guest gains little: each busy one costs a core. */
const EMULATED_PROCESSORS = 2;

/** How a machine of that image and size would run here, whether it finds room, and why. */
export function Forecast(props: { image: string; cores: number; memory: string }): React.JSX.Element {
  const { image, cores } = props;
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const all = useMemo(() => [...nodes.objects.values()], [nodes.objects]);
  const guests = useMemo(() => [...instances.objects.values()], [instances.objects]);
  const badge = pillOf(kubeVirtOf(kubeVirts.objects), all);
  const isEmulated = badge.tone === 'slow';
  const slowdown = all.map((node) => node.metadata.annotations?.[SLOWDOWN]).find((value) => value !== undefined);
  const wanted = quantity(props.memory) ?? 0;
  const fit = useMemo(() => fitOf(wanted, isEmulated, all, guests), [wanted, isEmulated, all, guests]);
  return (
    <>
      <div className="av-row" data-forecast={badge.tone}>
        <span>{t('This machine will run:')}</span> <PlainBadge badge={badge} />
        {isEmulated && slowdown !== undefined && <span>{t('about {n} times slower than KVM here', { n: slowdown })}</span>}
      </div>
      <p>{loginWords(image, guests)}</p>
      <details>
        <summary>{t('Why?')}</summary>
        <p className="av-wrap av-small">{badge.why}</p>
      </details>
      {badge.tone === 'bad' && <Alert variant="warning" isInline title={t('It will wait until hardware virtualization works, or emulation is permitted.')} />}
      {isEmulated && cores > EMULATED_PROCESSORS && <Alert variant="warning" isInline title={t('Emulated processors are slow, and each busy one costs a core: {n} or fewer are advisable.', { n: EMULATED_PROCESSORS })} />}
      {isEmulated && fit !== undefined && fit.is !== 'full' && wanted > fit.usage.memory.all / 2 && (
        <Alert variant="warning" isInline title={t('That is more than half of the memory of {node}, and emulation needs some beside it.', { node: fit.node })} />
      )}
      {fit !== undefined && <FitLine fit={fit} cores={cores} />}
    </>
  );
}

function loginWords(image: string, guests: readonly VirtualMachineInstance[]): string {
  const usual = usualLogin(image.trim(), guests);
  if (usual === undefined) return t('Login: no estimate yet; no machine that is here now was started from this image.');
  const { low, high, basis } = usual;
  if (basis === undefined) return t('Login in about {time}, as another machine of this image took.', { time: duration(high) });
  return t('Login in about {time} ({basis}).', { time: low < 1 ? duration(high) : `${duration(low)} – ${duration(high)}`, basis });
}

function FitLine(props: { fit: Fit; cores: number }): React.JSX.Element {
  const { fit, cores } = props;
  const { processors, memory } = fit.usage;
  const values = { node: fit.node, free: bytes(Math.max(0, fit.freeMemory)), all: bytes(memory.all) };
  const title = {
    fits: t('Fits on {node}: {free} of {all} memory are free.', values),
    tight: t('Hardly fits on {node}: {free} of {all} memory are free, and QEMU needs some beside the guest.', values),
    full: t('Does not fit now: {node} has most memory free, {free} of {all}. It will wait for room.', values),
  }[fit.is];
  return (
    <div data-fit={fit.is}>
      <Alert variant={{ fits: 'success', tight: 'warning', full: 'danger' }[fit.is] as 'success'} isInline isPlain title={title} />
      {cores > processors.all && <Alert variant="warning" isInline isPlain title={t('{node} has {n} processors; guests with more share them.', { node: fit.node, n: processors.all })} />}
    </div>
  );
}
