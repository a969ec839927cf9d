import { Alert, Button, Drawer, DrawerContent, DrawerContentBody, DropdownItem, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, ToolbarGroup, ToolbarItem } from '@patternfly/react-core';
import { DesktopIcon, SearchIcon } from '@patternfly/react-icons';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useCallback, useMemo, useState } from 'react';

import { keyOf } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Action, ACTIONS, CREATE_MACHINE, permitted, RIGHTS } from '../kubevirt/actions';
import { ACCELERATIONS, choicesOf, found, type Acceleration, type Search, type SortKey } from '../kubevirt/filter';
import { instancesAlone, type Machine, machinesOf, PRINTABLE_STATUSES, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { actionLabel, AskDialog, carryOut, type Intent, needsConsent } from '../parts/ask';
import { Choice } from '../parts/choice';
import { GuardedButton } from '../parts/guarded-button';
import { FilterField, ListPage } from '../parts/list-page';
import { ActionItems } from '../parts/machine-actions';
import { notify } from '../parts/notices';
import { VirtualTable } from '../parts/virtual-table';
import { plural, t } from '../words/words';
import { MACHINE_COLUMNS } from './machine-columns';

const MachinePanel = lazy(() => import('../parts/machine-panel'));

const rowKey = (machine: Machine): string => keyOf(machine.vm);
const NOBODY: ReadonlySet<string> = new Set();

function accelerationLabel(value: Acceleration): string {
  return { kvm: 'KVM', emulated: t('Emulated'), blocked: t('Blocked'), none: t('Not running') }[value];
}

/** All virtual machines. */
export function MachinesPage(): React.JSX.Element {
  const search = useSearch({ from: '/machines' });
  const navigate = useNavigate();
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const machines = useMachines(vms.objects, instances.objects);
  const rows = useMemo(() => found(machines, search), [machines, search]);
  const alone = useMemo(() => instancesAlone(vms.objects, instances.objects), [vms.objects, instances.objects]);
  const [selected, setSelected] = useState<ReadonlySet<string>>(NOBODY);
  const [intent, setIntent] = useState<Intent>();

  const change = useCallback(
    (part: Partial<Search>) => void navigate({ to: '/machines', search: (before) => ({ ...before, ...part }), replace: true }),
    [navigate],
  );
  const ask = useCallback((action: Action, machine: Machine) => {
    const wanted = { action, machines: [machine] };
    if (needsConsent(wanted)) setIntent(wanted);
    else void carryOut(wanted).then(tellFailures);
  }, []);
  // Whether the panel was opened just now, and not by walking through the rows or by the address.
  const [takesFocus, setTakesFocus] = useState(false);
  const showBeside = useCallback((beside: string, moved = false) => { setTakesFocus(!moved); change({ beside }); }, [change]);
  const { beside } = search;
  const closeBeside = useCallback(() => { change({ beside: undefined }); focusRow(beside); }, [change, beside]);
  const menu = useCallback(
    (machine: Machine) => (
      <>
        <DropdownItem key="beside" onClick={() => showBeside(rowKey(machine))}>{t('Show beside the list')}</DropdownItem>
        <ActionItems machine={machine} onAsk={ask} />
      </>
    ),
    [ask, showBeside],
  );
  const shown = useMemo(() => machines.find((machine) => rowKey(machine) === beside), [machines, beside]);
  const select = useCallback((key: string, isSelected: boolean) => {
    setSelected((before) => {
      const after = new Set(before);
      if (isSelected) after.add(key);
      else after.delete(key);
      return after;
    });
  }, []);
  const chosen = useMemo(() => rows.filter((machine) => selected.has(rowKey(machine))), [rows, selected]);
  const count =
    rows.length === machines.length
      ? plural(rows.length, '{count} machine', '{count} machines')
      : t('{shown} of {all} machines', { shown: rows.length, all: machines.length });

  const create = (): void => void navigate({ to: '/create', search: search.project === undefined ? {} : { project: search.project } });
  return (
    <ListPage
      title={t('VirtualMachines')}
      watched={vms}
      count={count}
      action={<GuardedButton right={CREATE_MACHINE} namespace={search.project} onClick={create}>{t('Create')}</GuardedButton>}
      note={vms.phase === 'live' && <Alone instances={alone} />}
      filters={
        <>
          <Filters search={search} machines={machines} onChange={change} />
          <BulkActions chosen={chosen} onAsk={setIntent} />
        </>
      }
      dialog={intent !== undefined && <AskDialog intent={intent} onClose={() => setIntent(undefined)} onDone={() => setSelected(NOBODY)} />}
    >
      <Drawer isExpanded={beside !== undefined} isInline className="av-beside">
        <DrawerContent
          panelContent={
            beside !== undefined && (
              <Suspense fallback={null}>
                <MachinePanel id={beside} machine={shown} takesFocus={takesFocus} onAsk={ask} onClose={closeBeside} />
              </Suspense>
            )
          }
        >
          <DrawerContentBody>
            <VirtualTable
              label={t('VirtualMachines')}
              rows={rows}
              keyOf={rowKey}
              columns={MACHINE_COLUMNS}
              rowHeight={62}
              sorting={{ by: search.sort ?? 'name', descending: search.desc === true }}
              onSort={({ by, descending }) => change({ sort: by as SortKey, desc: descending ? true : undefined })}
              selected={selected}
              onSelect={select}
              onSelectAll={(all) => setSelected(all ? new Set(rows.map(rowKey)) : NOBODY)}
              menu={menu}
              beside={beside}
              onBeside={showBeside}
              empty={<Empty hasMachines={machines.length > 0} onClear={() => void navigate({ to: '/machines', search: {} })} onCreate={create} />}
            />
          </DrawerContentBody>
        </DrawerContent>
      </Drawer>
    </ListPage>
  );
}

/** Instances named at most beside the list. */
const MOST_ALONE = 5;

/** Tells of instances that are in no row of the list, because no VirtualMachine stands for them. */
function Alone(props: { instances: readonly VirtualMachineInstance[] }): React.JSX.Element | null {
  const { instances } = props;
  if (instances.length === 0) return null;
  return (
    <Alert variant="info" isInline isPlain title={plural(instances.length, '{count} instance has no VirtualMachine', '{count} instances have no VirtualMachine')}>
      <span className="av-row">
        {instances.slice(0, MOST_ALONE).map(({ metadata }) => (
          <Link key={metadata.uid} to="/k8s/ns/$namespace/$plural/$name" params={{ namespace: metadata.namespace ?? 'default', plural: RESOURCES.virtualMachineInstances.plural, name: metadata.name }}>
            {metadata.name}
          </Link>
        ))}
      </span>
    </Alert>
  );
}

/** Machines whose VM and instance are unchanged stay the same objects, so that their rows are not drawn again. */
function useMachines(vms: ReadonlyMap<string, VirtualMachine>, instances: ReadonlyMap<string, VirtualMachineInstance>): Machine[] {
  const [before] = useState(() => new Map<string, Machine>());
  return useMemo(() => {
    const now = machinesOf(vms, instances).map((machine) => {
      const known = before.get(rowKey(machine));
      return known !== undefined && known.vm === machine.vm && known.vmi === machine.vmi ? known : machine;
    });
    before.clear();
    for (const machine of now) before.set(rowKey(machine), machine);
    return now;
  }, [vms, instances, before]);
}

function tellFailures(failed: Awaited<ReturnType<typeof carryOut>>): void {
  for (const { machine, failure } of failed) notify({ tone: 'danger', title: keyOf(machine.vm), detail: failure.message });
}

/** The row that was shown beside the list has the focus again; the table, if that row is not drawn. */
function focusRow(key: string | undefined): void {
  const row = key === undefined ? null : document.querySelector<HTMLElement>(`[data-row="${CSS.escape(key)}"] a`);
  (row ?? document.querySelector<HTMLElement>('.av-beside .av-scroll'))?.focus();
}

/** No filter at all. */
const UNFILTERED: Partial<Search> = { q: undefined, status: undefined, accel: undefined, project: undefined, label: undefined, os: undefined };

function Filters(props: { search: Search; machines: readonly Machine[]; onChange: (part: Partial<Search>) => void }): React.JSX.Element {
  const { search, machines, onChange } = props;
  const isFiltered = Object.keys(UNFILTERED).some((key) => search[key as keyof Search] !== undefined);
  const { labels, systems } = useMemo(() => choicesOf(machines), [machines]);
  return (
    <>
      <FilterField placeholder={t('Name, address, label')} label={t('Filter by name, address, node or label')} value={search.q} onChange={(q) => onChange({ q })} />
      <ToolbarGroup variant="filter-group">
        <ToolbarItem>
          <Choice
            label={t('Status')}
            all={t('All')}
            value={search.status}
            options={PRINTABLE_STATUSES.map((value) => ({ value, label: value }))}
            onChange={(status) => onChange({ status })}
          />
        </ToolbarItem>
        <ToolbarItem>
          <Choice
            label={t('Acceleration')}
            all={t('All')}
            value={search.accel}
            options={ACCELERATIONS.map((value) => ({ value, label: accelerationLabel(value) }))}
            onChange={(accel) => onChange({ accel })}
          />
        </ToolbarItem>
        <OwnChoice label={t('Label')} value={search.label} options={labels} onChange={(label) => onChange({ label })} />
        <OwnChoice label={t('System')} value={search.os} options={systems} onChange={(os) => onChange({ os })} />
      </ToolbarGroup>
      {isFiltered && (
        <ToolbarItem>
          <Button variant="link" onClick={() => onChange(UNFILTERED)}>
            {t('Clear filters')}
          </Button>
        </ToolbarItem>
      )}
    </>
  );
}

/** A filter that there is only if some machine has what it filters by. */
function OwnChoice(props: { label: string; value: string | undefined; options: readonly string[]; onChange: (value: string | undefined) => void }): React.JSX.Element | null {
  const { label, value, options, onChange } = props;
  if (options.length === 0 && value === undefined) return null;
  return (
    <ToolbarItem>
      <Choice label={label} all={t('All')} value={value} options={options.map((one) => ({ value: one, label: one }))} onChange={onChange} />
    </ToolbarItem>
  );
}

/** The project that all are in; none if they are in several. */
function projectOf(machines: readonly Machine[]): string | undefined {
  const [first, ...others] = new Set(machines.map(({ vm }) => vm.metadata.namespace));
  return others.length === 0 ? first : undefined;
}

/** Buttons for what can be done with the selected machines; each counts those that it would be done with. */
function BulkActions(props: { chosen: readonly Machine[]; onAsk: (intent: Intent) => void }): React.JSX.Element | null {
  const { chosen, onAsk } = props;
  if (chosen.length === 0) return null;
  return (
    <ToolbarGroup variant="action-group" align={{ default: 'alignEnd' }} aria-label={t('Selected machines')}>
      {ACTIONS.map((action) => ({ action, machines: chosen.filter((machine) => permitted(action, machine).may) }))
        .filter(({ machines }) => machines.length > 0)
        .map(({ action, machines }) => (
          <ToolbarItem key={action}>
            <GuardedButton right={RIGHTS[action]} namespace={projectOf(machines)} variant={action === 'delete' ? 'danger' : 'secondary'} size="sm" onClick={() => onAsk({ action, machines })}>
              {t('{action} ({count})', { action: actionLabel(action), count: machines.length })}
            </GuardedButton>
          </ToolbarItem>
        ))}
    </ToolbarGroup>
  );
}

function Empty(props: { hasMachines: boolean; onClear: () => void; onCreate: () => void }): React.JSX.Element {
  return props.hasMachines ? (
    <EmptyState titleText={t('No machine matches')} headingLevel="h2" icon={SearchIcon}>
      <EmptyStateBody>{t('No VirtualMachine fits these filters.')}</EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="link" onClick={props.onClear}>{t('Clear filters')}</Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  ) : (
    <EmptyState titleText={t('No virtual machines')} headingLevel="h2" icon={DesktopIcon}>
      <EmptyStateBody>
        {t('A VirtualMachine is a computer of its own, declared like everything else in Kubernetes. Create one here, or type')}{' '}
        <code>kubectl apply -f vm.yaml</code>.
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <GuardedButton right={CREATE_MACHINE} onClick={props.onCreate}>{t('Create a VirtualMachine')}</GuardedButton>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
