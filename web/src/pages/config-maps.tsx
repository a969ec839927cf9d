import { Button, DropdownItem, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, Label, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useCallback, useMemo, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { keyOf } from '../kubernetes/object';
import { objectPath, RESOURCES } from '../kubernetes/resource';
import { send } from '../kubernetes/request';
import { useWatched } from '../kubernetes/store';
import type { Right } from '../kubevirt/actions';
import { type ConfigMap, SWITCH_MAP } from '../kubevirt/configuration';
import { Age } from '../parts/age';
import { GuardedButton, GuardedItem } from '../parts/guarded-button';
import { FilterField, ListPage } from '../parts/list-page';
import { notify } from '../parts/notices';
import { type Column, VirtualTable } from '../parts/virtual-table';
import { plural, t } from '../words/words';

const PLURAL = RESOURCES.configMaps.plural;
const CREATE: Right = { verb: 'create', type: RESOURCES.configMaps };
const DELETE: Right = { verb: 'delete', type: RESOURCES.configMaps };

function paramsOf(map: ConfigMap): { namespace: string; plural: string; name: string } {
  return { namespace: map.metadata.namespace ?? 'default', plural: PLURAL, name: map.metadata.name };
}

/** Number of keys, as `kubectl get cm` counts them. */
function sizeOf(map: ConfigMap): number {
  return Object.keys(map.data ?? {}).length + Object.keys(map.binaryData ?? {}).length;
}

const COLUMNS: readonly Column<ConfigMap>[] = [
  {
    key: 'name',
    title: t('Name'),
    cell: (map) => (
      <span className="av-row">
        <Link to="/k8s/ns/$namespace/$plural/$name" params={paramsOf(map)}>{map.metadata.name}</Link>
        {map.metadata.name === SWITCH_MAP.name && <Label isCompact color="purple">{t('virtualization settings')}</Label>}
      </span>
    ),
  },
  { key: 'namespace', title: t('Namespace'), cell: (map) => map.metadata.namespace },
  { key: 'size', title: t('Size'), isTight: true, cell: (map) => <span className="av-number">{sizeOf(map)}</span> },
  { key: 'created', title: t('Created'), isTight: true, cell: (map) => <Age time={map.metadata.creationTimestamp} /> },
];

/** Config Maps of one project, at the address that they have in OpenShift. */
export function ConfigMapsOfProject(): React.JSX.Element {
  const { namespace } = useParams({ from: '/k8s/ns/$namespace/configmaps' });
  const { q } = useSearch({ from: '/k8s/ns/$namespace/configmaps' });
  const navigate = useNavigate();
  return <ConfigMaps namespace={namespace} q={q} onSearch={(words) => void navigate({ to: '/k8s/ns/$namespace/configmaps', params: { namespace }, search: { q: words }, replace: true })} />;
}

/** Config Maps of all projects. */
export function ConfigMapsOfAll(): React.JSX.Element {
  const { q } = useSearch({ from: '/k8s/all-namespaces/configmaps' });
  const navigate = useNavigate();
  return <ConfigMaps q={q} onSearch={(words) => void navigate({ to: '/k8s/all-namespaces/configmaps', search: { q: words }, replace: true })} />;
}

function ConfigMaps(props: { namespace?: string; q: string | undefined; onSearch: (q: string | undefined) => void }): React.JSX.Element {
  const { namespace, q, onSearch } = props;
  const watched = useWatched<ConfigMap>(RESOURCES.configMaps, namespace);
  const navigate = useNavigate();
  const [doomed, setDoomed] = useState<ConfigMap>();
  const rows = useMemo(() => {
    const words = (q ?? '').toLowerCase();
    return [...watched.objects.values()].filter((map) => map.metadata.name.toLowerCase().includes(words)).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  }, [watched.objects, q]);
  const menu = useCallback(
    (map: ConfigMap) => (
      <>
        <DropdownItem onClick={() => void navigate({ to: '/k8s/ns/$namespace/$plural/$name', params: paramsOf(map), search: { tab: 'yaml' } })}>{t('Edit ConfigMap')}</DropdownItem>
        <GuardedItem right={DELETE} namespace={map.metadata.namespace} isDanger onClick={() => setDoomed(map)}>{t('Delete ConfigMap')}</GuardedItem>
      </>
    ),
    [navigate],
  );
  const create = (): void => void navigate({ to: '/k8s/ns/$namespace/$plural/~new', params: { namespace: namespace ?? 'default', plural: PLURAL } });
  return (
    <ListPage
      title={t('Config Maps')}
      watched={watched}
      count={plural(rows.length, '{count} config map', '{count} config maps')}
      action={<GuardedButton right={CREATE} namespace={namespace} onClick={create}>{t('Create ConfigMap')}</GuardedButton>}
      filters={<FilterField placeholder={t('Name')} label={t('Filter by name')} value={q} onChange={onSearch} />}
      dialog={doomed !== undefined && <DeleteDialog map={doomed} onClose={() => setDoomed(undefined)} />}
    >
      <VirtualTable
        label={t('Config Maps')}
        rows={rows}
        keyOf={keyOf}
        columns={COLUMNS}
        rowHeight={53}
        menu={menu}
        empty={
          <EmptyState titleText={t('No config maps in this project')} headingLevel="h2">
            <EmptyStateBody>{t('A ConfigMap holds settings as keys and values.')}</EmptyStateBody>
            <EmptyStateFooter><EmptyStateActions><GuardedButton right={CREATE} namespace={namespace} variant="link" onClick={create}>{t('Create ConfigMap')}</GuardedButton></EmptyStateActions></EmptyStateFooter>
          </EmptyState>
        }
      />
    </ListPage>
  );
}

function DeleteDialog(props: { map: ConfigMap; onClose: () => void }): React.JSX.Element {
  const { namespace = 'default', name } = props.map.metadata;
  const [isBusy, setBusy] = useState(false);
  async function remove(): Promise<void> {
    setBusy(true);
    try {
      await send(objectPath(RESOURCES.configMaps, namespace, name), { method: 'DELETE' });
      notify({ tone: 'success', title: t('{name} was deleted', { name }) });
    } catch (thrown) {
      notify({ tone: 'danger', title: name, detail: Failure.of(thrown).message });
    }
    props.onClose();
  }
  return (
    <Modal isOpen onClose={props.onClose} variant="small" aria-labelledby="delete-title">
      <ModalHeader title={t('Delete {name}?', { name })} titleIconVariant="warning" labelId="delete-title" />
      <ModalBody>
        {name === SWITCH_MAP.name ? t('It holds settings of virtualization: without it, defaults or other places decide.') : t('Whatever reads it loses its settings.')}
        <p className="av-gap"><code>{`kubectl -n ${namespace} delete cm ${name}`}</code></p>
      </ModalBody>
      <ModalFooter>
        <GuardedButton right={DELETE} namespace={namespace} variant="danger" isDisabled={isBusy} isLoading={isBusy} onClick={() => void remove()}>{t('Delete')}</GuardedButton>
        <Button variant="link" onClick={props.onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
