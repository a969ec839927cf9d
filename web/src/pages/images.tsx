import { Alert, Content, EmptyState, EmptyStateBody, Label, PageSection, Skeleton } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import { imagesInUse, type UsedImage, type UsedVolume, volumesInUse } from '../kubevirt/images';
import { machinesOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { Freshness } from '../parts/freshness';
import { useTitle } from '../parts/title';
import { type Column, VirtualTable } from '../parts/virtual-table';
import { bytes } from '../words/measures';
import { t } from '../words/words';

const IMAGE_COLUMNS: readonly Column<UsedImage>[] = [
  { key: 'image', title: t('Image'), cell: ({ image }) => <span className="av-mono">{image}</span> },
  { key: 'purpose', title: t('Purpose'), isTight: true, cell: ({ purpose }) => (purpose === 'disk' ? t('disk') : t('kernel')) },
  {
    key: 'users',
    title: t('Used by'),
    cell: ({ machines }) => (
      <span className="av-row">
        {machines.slice(0, 5).map(({ namespace, name, isRunning }) => (
          <span key={`${namespace}/${name}`} className="av-row">
            <Link to="/machines/$namespace/$name" params={{ namespace, name }}>{name}</Link>
            {isRunning && <Label isCompact status="success" variant="outline">{t('runs')}</Label>}
          </span>
        ))}
        {machines.length > 5 && t('and {n} more', { n: machines.length - 5 })}
      </span>
    ),
  },
  { key: 'create', title: t('New machine'), isTight: true, cell: ({ image, purpose }) => (purpose === 'disk' ? <Link to="/create" search={{ image }}>{t('Create from it')}</Link> : '') },
];

const VOLUME_COLUMNS: readonly Column<UsedVolume>[] = [
  { key: 'name', title: t('Volume'), cell: ({ name }) => name },
  { key: 'machine', title: t('Machine'), cell: ({ namespace, machine }) => <Link to="/machines/$namespace/$name" params={{ namespace, name: machine }}>{machine}</Link> },
  { key: 'project', title: t('Project'), cell: ({ namespace }) => namespace },
  { key: 'kind', title: t('Kind'), isTight: true, cell: ({ kind }) => kind },
  { key: 'source', title: t('Source'), cell: ({ source }) => <span className="av-mono">{source === '' ? '–' : source}</span> },
  { key: 'size', title: t('Size'), isTight: true, cell: ({ size }) => <span className="av-number">{size === undefined ? '–' : bytes(size)}</span> },
  { key: 'kept', title: t('Kept'), isTight: true, cell: ({ isKept }) => (isKept ? t('yes') : t('with the guest')) },
];

/** What machines are made from, and what they write to. */
export function ImagesPage(): React.JSX.Element {
  useTitle(t('Images and volumes'));
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const machines = useMemo(() => machinesOf(vms.objects, instances.objects), [vms.objects, instances.objects]);
  const images = useMemo(() => imagesInUse(machines), [machines]);
  const volumes = useMemo(() => volumesInUse(machines), [machines]);
  const empty = (title: string, body: string): React.JSX.Element => (
    <EmptyState titleText={title} headingLevel="h3" variant="sm"><EmptyStateBody>{body}</EmptyStateBody></EmptyState>
  );
  return (
    <PageSection isFilled aria-label={t('Images and volumes')}>
      <div className="av-stack">
        <Content component="h1">{t('Images and volumes')}</Content>
        <Freshness what={t('VirtualMachines')} watched={vms} />
        <Alert variant="info" isInline isPlain title={t('Nodes pull images when a machine needs them. This release of the API serves no list of stored images, no upload and no claims, so these tables show what machines name.')} />
        {vms.phase === 'loading' && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
        {isKnown(vms) && (
          <>
            <Content component="h2">{t('Images')}</Content>
            <VirtualTable label={t('Images')} rows={images} keyOf={({ image, purpose }) => `${purpose} ${image}`} columns={IMAGE_COLUMNS} empty={empty(t('No images'), t('No machine names an image yet.'))} />
            <Content component="h2">{t('Volumes')}</Content>
            <VirtualTable label={t('Volumes')} rows={volumes} keyOf={({ key }) => key} columns={VOLUME_COLUMNS} empty={empty(t('No volumes'), t('No machine has a volume yet.'))} />
          </>
        )}
      </div>
    </PageSection>
  );
}
