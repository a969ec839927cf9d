import { Alert, Button, Checkbox, ClipboardCopy, EmptyState, EmptyStateBody, ExpandableSection, Form, FormGroup, Label, Modal, ModalBody, ModalFooter, ModalHeader, TextInput } from '@patternfly/react-core';
import { useMemo, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';
import { collectionPath, objectPath, RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import type { Right } from '../kubevirt/actions';
import type { Machine } from '../kubevirt/machine';
import { lightOf, nameAt, newRestore, newSnapshot, openRestores, type Restore, type Snapshot, snapshotsOf, standing, whyNot } from '../kubevirt/snapshots';
import { Age } from '../parts/age';
import { Freshness } from '../parts/freshness';
import { GuardedButton } from '../parts/guarded-button';
import { notify } from '../parts/notices';
import { type Column, VirtualTable } from '../parts/virtual-table';
import { t } from '../words/words';

const TAKE: Right = { verb: 'create', type: RESOURCES.snapshots };
const RESTORE: Right = { verb: 'create', type: RESOURCES.restores };
const DELETE: Right = { verb: 'delete', type: RESOURCES.snapshots };

/** What is being asked: a new snapshot, or something with one that is there. */
type Asked = { action: 'take' } | { action: 'restore' | 'fork' | 'delete'; snapshot: Snapshot };

const NEW: Asked = { action: 'take' };

/** What a machine was at earlier instants, and the ways back. */
export function MachineSnapshots(props: { machine: Machine }): React.JSX.Element {
  const { name, namespace = 'default' } = props.machine.vm.metadata;
  const watched = useWatched<Snapshot>(RESOURCES.snapshots, namespace);
  const restores = useWatched<Restore>(RESOURCES.restores, namespace);
  const [asked, setAsked] = useState<Asked>();
  const snapshots = useMemo(() => snapshotsOf(watched.objects.values(), name), [watched.objects, name]);
  const open = useMemo(() => openRestores(restores.objects.values(), snapshots), [restores.objects, snapshots]);
  const columns = useMemo(() => columnsOf(namespace, setAsked), [namespace]);
  return (
    <div className="av-stack">
      <Freshness what={t('VirtualMachineSnapshots')} watched={watched} />
      <div>
        <GuardedButton right={TAKE} namespace={namespace} variant="secondary" onClick={() => setAsked(NEW)}>{t('Take snapshot')}</GuardedButton>
      </div>
      {open.map((restore) => <OpenRestore key={restore.metadata.name} restore={restore} />)}
      {isKnown(watched) && (
        <VirtualTable
          label={t('Snapshots')}
          rows={snapshots}
          keyOf={({ metadata }) => metadata.name}
          columns={columns}
          empty={<EmptyState titleText={t('No snapshots')} headingLevel="h3" variant="sm"><EmptyStateBody>{t('A snapshot with memory brings the machine back to the running instant.')}</EmptyStateBody></EmptyState>}
        />
      )}
      {asked !== undefined && <AskSnapshot asked={asked} machine={props.machine} onClose={() => setAsked(undefined)} />}
    </div>
  );
}

function columnsOf(namespace: string, onAsk: (asked: Asked) => void): readonly Column<Snapshot>[] {
  const button = (right: Right, action: 'restore' | 'fork' | 'delete', label: string, snapshot: Snapshot): React.JSX.Element => (
    <GuardedButton right={right} namespace={namespace} variant="link" isInline isDanger={action === 'delete'} isDisabled={action !== 'delete' && snapshot.status?.readyToUse !== true} onClick={() => onAsk({ action, snapshot })}>
      {label}
    </GuardedButton>
  );
  return [
    { key: 'name', title: t('Snapshot'), cell: ({ metadata }) => metadata.name },
    { key: 'taken', title: t('Taken'), isTight: true, cell: ({ status }) => (status?.creationTime === undefined ? '–' : <Age time={status.creationTime} />) },
    { key: 'memory', title: t('Memory'), isTight: true, cell: ({ spec }) => (spec.includeMemory === true ? t('yes') : t('no')) },
    {
      key: 'phase',
      title: t('Phase'),
      cell: (snapshot) => (
        <span className="av-row">
          <Label isCompact variant="outline" status={lightOf(snapshot)}>{snapshot.status?.phase ?? t('unknown')}</Label>
          {whyNot(snapshot) !== '' && <span className="av-subtle av-small">{whyNot(snapshot)}</span>}
        </span>
      ),
    },
    {
      key: 'ways',
      title: t('Ways back'),
      cell: (snapshot) => (
        <span className="av-row">
          {button(RESTORE, 'restore', t('Restore'), snapshot)}
          {button(RESTORE, 'fork', t('New machine'), snapshot)}
          {button(DELETE, 'delete', t('Delete'), snapshot)}
        </span>
      ),
    },
  ];
}

function OpenRestore(props: { restore: Restore }): React.JSX.Element {
  const { spec } = props.restore;
  const { hasFailed, message } = standing(props.restore);
  const values = { target: spec.target.name, snapshot: spec.virtualMachineSnapshotName };
  const title = hasFailed ? t('{target} was not restored from {snapshot}', values) : t('{target} is being restored from {snapshot}', values);
  return <Alert isInline variant={hasFailed ? 'danger' : 'info'} title={title}>{message}</Alert>;
}

/** Title, consequence and command of what is asked; `name` is what the person has written. */
function wordsOf(asked: Asked, machine: string, namespace: string, name: string, hasMemory: boolean): { title: string; body: string; label: string; command: string } {
  const snapshot = asked.action === 'take' ? '' : asked.snapshot.metadata.name;
  const withMemory = asked.action !== 'take' && asked.snapshot.spec.includeMemory === true;
  switch (asked.action) {
    case 'take':
      return {
        title: t('Take a snapshot of {name}?', { name: machine }),
        body: t('With memory, the guest stands still for a moment, and what is kept takes as much disk as it has used of its memory.'),
        label: t('Take snapshot'),
        command: `anyvirt snapshot -n ${namespace} ${machine} --name ${name}${hasMemory ? ' --memory' : ''}`,
      };
    case 'restore':
      return {
        title: t('Restore {name} from {snapshot}?', { name: machine, snapshot }),
        body: withMemory
          ? t('The machine is stopped, and goes on from the instant of the snapshot. What has happened in it since then is lost.')
          : t('The machine is stopped, and gets the configuration of the snapshot. Its disks are not in it.'),
        label: t('Restore'),
        command: `anyvirt restore -n ${namespace} ${machine} --snapshot ${snapshot} --stop`,
      };
    case 'fork':
      return {
        title: t('A new machine from {snapshot}', { snapshot }),
        body: withMemory
          ? t('It goes on from the same instant as another machine: with a name, addresses and keys of its own.')
          : t('It gets the configuration of the snapshot. Its disks are not in it.'),
        label: t('Create'),
        command: `anyvirt restore -n ${namespace} ${name} --snapshot ${snapshot}`,
      };
    case 'delete':
      return {
        title: t('Delete {name}?', { name: snapshot }),
        body: t('There is no way back to this instant afterwards.'),
        label: t('Delete'),
        command: `kubectl -n ${namespace} delete vmsnapshot ${snapshot}`,
      };
  }
}

async function carryOut(asked: Asked, namespace: string, machine: string, name: string, hasMemory: boolean): Promise<void> {
  switch (asked.action) {
    case 'take':
      await send(collectionPath(RESOURCES.snapshots, namespace), { method: 'POST', body: newSnapshot(namespace, name, machine, hasMemory) });
      return;
    case 'restore':
    case 'fork': {
      const target = asked.action === 'fork' ? name : machine;
      const restore = newRestore(namespace, nameAt(target, new Date()), asked.snapshot.metadata.name, target);
      await send(collectionPath(RESOURCES.restores, namespace), { method: 'POST', body: restore });
      return;
    }
    case 'delete':
      await send(objectPath(RESOURCES.snapshots, namespace, asked.snapshot.metadata.name), { method: 'DELETE' });
  }
}

function AskSnapshot(props: { asked: Asked; machine: Machine; onClose: () => void }): React.JSX.Element {
  const { asked, machine, onClose } = props;
  const { name: own, namespace = 'default' } = machine.vm.metadata;
  const runs = machine.vmi?.status?.phase === 'Running';
  const [name, setName] = useState(() => (asked.action === 'take' ? nameAt(own, new Date()) : `${own}-2`));
  const [hasMemory, setMemory] = useState(runs);
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const { title, body, label, command } = wordsOf(asked, own, namespace, name, hasMemory);
  const isNamed = asked.action === 'take' || asked.action === 'fork';

  async function confirm(): Promise<void> {
    setBusy(true);
    try {
      await carryOut(asked, namespace, own, name, hasMemory);
      notify({ tone: 'success', title: t('{action}: {name} was asked', { action: label, name: own }) });
      onClose();
    } catch (thrown) {
      setFailure(Failure.of(thrown));
      setBusy(false);
    }
  }

  return (
    <Modal isOpen onClose={onClose} variant="small" aria-labelledby="snapshot-title" aria-describedby="snapshot-body">
      <ModalHeader title={title} titleIconVariant={asked.action === 'restore' || asked.action === 'delete' ? 'warning' : undefined} labelId="snapshot-title" />
      <ModalBody id="snapshot-body" tabIndex={0}>
        <div className="av-stack">
          <p>{body}</p>
          {isNamed && (
            <Form onSubmit={(event) => { event.preventDefault(); void confirm(); }}>
              <FormGroup label={t('Name')} fieldId="snapshot-name" isRequired>
                <TextInput id="snapshot-name" value={name} onChange={(_event, value) => setName(value)} isRequired />
              </FormGroup>
              {asked.action === 'take' && (
                <Checkbox id="snapshot-memory" label={t('With memory')} description={runs ? undefined : t('Only a running machine has any.')} isChecked={hasMemory} isDisabled={!runs} onChange={(_event, isChecked) => setMemory(isChecked)} />
              )}
            </Form>
          )}
          {failure !== undefined && <Alert variant="danger" isInline title={failure.message} />}
          <ExpandableSection toggleText={t('Show command')}>
            <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')}>{command}</ClipboardCopy>
          </ExpandableSection>
        </div>
      </ModalBody>
      <ModalFooter>
        <Button variant={asked.action === 'delete' ? 'danger' : 'primary'} isLoading={isBusy} isDisabled={isBusy || (isNamed && name === '')} onClick={() => void confirm()}>{label}</Button>
        <Button variant="link" onClick={onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
