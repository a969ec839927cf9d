import { Alert, ClipboardCopy, ClipboardCopyVariant, Content, EmptyState, EmptyStateBody, ExpandableSection, Label, PageSection, Skeleton } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import { type ImageRow, imageRows, MOST_TOLD, type UsedVolume, volumesInUse } from '../kubevirt/images';
import { machinesOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import type { Node } from '../kubevirt/node';
import { lightOf, templateRows, type WarmStartTemplate } from '../kubevirt/templates';
import { Age } from '../parts/age';
import { Freshness } from '../parts/freshness';
import { useTitle } from '../parts/title';
import { type Column, VirtualTable } from '../parts/virtual-table';
import { bytes } from '../words/measures';
import { t } from '../words/words';

/** Users of an image that are named; the rest is counted. */
const NAMED = 5;

const IMAGE_COLUMNS: readonly Column<ImageRow>[] = [
  { key: 'image', title: t('Image'), cell: ({ image }) => <span className="av-mono">{image}</span> },
  { key: 'purpose', title: t('Purpose'), isTight: true, cell: ({ purpose }) => ({ disk: t('disk'), kernel: t('kernel'), unused: '–' })[purpose ?? 'unused'] },
  {
    key: 'size',
    title: t('Size'),
    isTight: true,
    cell: ({ nodes }) => <span className="av-number">{nodes.length === 0 ? '–' : bytes(Math.max(...nodes.map((node) => node.bytes)))}</span>,
  },
  {
    key: 'nodes',
    title: t('Kept on'),
    cell: ({ nodes }) => (nodes.length === 0 ? <span className="av-subtle">{t('no node; pulled when it is needed')}</span> : nodes.map(({ name }) => name).join(', ')),
  },
  {
    key: 'users',
    title: t('Used by'),
    cell: ({ machines }) => (
      <span className="av-row">
        {machines.length === 0 && <span className="av-subtle">{t('nobody')}</span>}
        {machines.slice(0, NAMED).map(({ namespace, name, isRunning }) => (
          <span key={`${namespace}/${name}`} className="av-row">
            <Link to="/machines/$namespace/$name" params={{ namespace, name }}>{name}</Link>
            {isRunning && <Label isCompact status="success" variant="outline">{t('runs')}</Label>}
          </span>
        ))}
        {machines.length > NAMED && t('and {n} more', { n: machines.length - NAMED })}
      </span>
    ),
  },
  { key: 'create', title: t('New machine'), isTight: true, cell: ({ image, purpose }) => (purpose === 'kernel' ? '' : <Link to="/create" search={{ image }}>{t('Create from it')}</Link>) },
];

const VOLUME_COLUMNS: readonly Column<UsedVolume>[] = [
  { key: 'name', title: t('Volume'), cell: ({ name }) => name },
  {
    key: 'machine',
    title: t('Machine'),
    cell: ({ namespace, machine, isOrphan }) =>
      isOrphan ? (
        <span className="av-row">
          <Link to="/k8s/ns/$namespace/$plural/$name" params={{ namespace, plural: RESOURCES.virtualMachineInstances.plural, name: machine }}>{machine}</Link>
          <Label isCompact status="warning" variant="outline">{t('no VirtualMachine')}</Label>
        </span>
      ) : (
        <Link to="/machines/$namespace/$name" params={{ namespace, name: machine }}>{machine}</Link>
      ),
  },
  { key: 'project', title: t('Project'), cell: ({ namespace }) => namespace },
  { key: 'kind', title: t('Kind'), isTight: true, cell: ({ kind }) => kind },
  { key: 'source', title: t('Source'), cell: ({ source }) => <span className="av-mono">{source === '' ? '–' : source}</span> },
  { key: 'size', title: t('Size for the guest'), isTight: true, cell: ({ size }) => <span className="av-number">{size === undefined ? '–' : bytes(size)}</span> },
  { key: 'kept', title: t('Kept'), isTight: true, cell: ({ isKept }) => (isKept ? t('yes') : t('with the guest')) },
];

const TEMPLATE_COLUMNS: readonly Column<WarmStartTemplate>[] = [
  {
    key: 'name',
    title: t('Template'),
    cell: ({ metadata: { namespace = 'default', name } }) => <Link to="/k8s/ns/$namespace/$plural/$name" params={{ namespace, plural: RESOURCES.warmStartTemplates.plural, name }}>{name}</Link>,
  },
  { key: 'project', title: t('Project'), cell: ({ metadata }) => metadata.namespace },
  { key: 'image', title: t('Image'), cell: ({ spec }) => <span className="av-mono">{spec.image ?? '–'}</span> },
  {
    key: 'phase',
    title: t('Phase'),
    cell: (template) => (
      <span className="av-row">
        <Label isCompact variant="outline" status={lightOf(template)}>{template.status?.phase ?? t('unknown')}</Label>
        {template.status?.message !== undefined && <span className="av-subtle av-small">{template.status.message}</span>}
      </span>
    ),
  },
  { key: 'size', title: t('Size'), isTight: true, cell: ({ status }) => <span className="av-number">{status?.sizeBytes === undefined ? '–' : bytes(status.sizeBytes)}</span> },
  { key: 'uses', title: t('Starts from it'), isTight: true, cell: ({ status }) => <span className="av-number">{status?.uses ?? 0}</span> },
  { key: 'made', title: t('Made'), isTight: true, cell: ({ status }) => (status?.madeAt === undefined ? '–' : <Age time={status.madeAt} />) },
  { key: 'node', title: t('Kept on'), isTight: true, cell: ({ spec }) => spec.node },
];

/** What machines are made from, and what they write to. */
export function ImagesPage(): React.JSX.Element {
  useTitle(t('Images and volumes'));
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const templates = useWatched<WarmStartTemplate>(RESOURCES.warmStartTemplates);
  const kept = useMemo(() => templateRows(templates.objects.values()), [templates.objects]);
  const all = useMemo(() => [...nodes.objects.values()], [nodes.objects]);
  const images = useMemo(() => imageRows(machinesOf(vms.objects, instances.objects), all), [vms.objects, instances.objects, all]);
  const volumes = useMemo(() => volumesInUse(vms.objects, instances.objects), [vms.objects, instances.objects]);
  const full = all.filter(({ status }) => (status?.images ?? []).length >= MOST_TOLD).map(({ metadata }) => metadata.name);
  const empty = (title: string, body: string): React.JSX.Element => (
    <EmptyState titleText={title} headingLevel="h3" variant="sm"><EmptyStateBody>{body}</EmptyStateBody></EmptyState>
  );
  return (
    <PageSection isFilled aria-label={t('Images and volumes')}>
      <div className="av-stack">
        <Content component="h1">{t('Images and volumes')}</Content>
        <Freshness what={t('VirtualMachines')} watched={vms} />
        <Freshness what={t('Nodes')} watched={nodes} />
        {vms.phase === 'loading' && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
        {isKnown(vms) && (
          <>
            <Content component="h2">{t('Images')}</Content>
            {full.length > 0 && <Alert variant="info" isInline isPlain title={t('Of {nodes} only the {n} largest images are told.', { nodes: full.join(', '), n: MOST_TOLD })} />}
            <VirtualTable label={t('Images')} rows={images} keyOf={({ key }) => key} columns={IMAGE_COLUMNS} empty={empty(t('No images'), t('No machine names an image yet.'))} />
            <HowImagesCome />
            <Content component="h2">{t('Templates for warm starts')}</Content>
            <Freshness what={t('WarmStartTemplates')} watched={templates} />
            {isKnown(templates) && (
              <VirtualTable
                label={t('Templates for warm starts')}
                rows={kept}
                keyOf={({ metadata }) => `${metadata.namespace}/${metadata.name}`}
                columns={TEMPLATE_COLUMNS}
                empty={empty(t('No templates'), t('No machine asks for a warm start yet.'))}
              />
            )}
            <Content component="h2">{t('Volumes')}</Content>
            <VirtualTable label={t('Volumes')} rows={volumes} keyOf={({ key }) => key} columns={VOLUME_COLUMNS} empty={empty(t('No volumes'), t('No machine has a volume yet.'))} />
          </>
        )}
      </div>
    </PageSection>
  );
}

/** What makes a disk image of one's own into a container disk in a registry. */
const PUSH = `printf 'FROM scratch\\nADD --chown=107:107 disk.qcow2 /disk/\\n' | podman build -t registry.example/machines/mine:1 -f - .\npodman push registry.example/machines/mine:1`;

/** How images come to nodes and go from them, which nobody does here. */
function HowImagesCome(): React.JSX.Element {
  return (
    <ExpandableSection toggleText={t('How images come, and go')}>
      <div className="av-stack">
        <p>{t('A node pulls an image when a machine that names it starts, and keeps what machines need of it. An image that no start has asked for in 14 days goes by itself. The API has no way to upload, pull or delete one.')}</p>
        <p>{t('A disk image of your own (raw or qcow2) becomes one that machines can name, with these commands:')}</p>
        <ClipboardCopy isReadOnly isCode isExpanded variant={ClipboardCopyVariant.expansion} hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Commands that make and push a container disk')}>{PUSH}</ClipboardCopy>
        <p>{t('Without a registry, an OCI image layout in a folder of the node does as well:')} <code>oci-layout:/srv/images/mine</code></p>
      </div>
    </ExpandableSection>
  );
}
