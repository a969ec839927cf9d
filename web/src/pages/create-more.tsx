import { Button, Card, CardBody, ExpandableSection, FormGroup, FormSelect, FormSelectOption, Switch, TextArea, TextInput } from '@patternfly/react-core';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { hasFeature, type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import { diskName, type NewDisk, type NewMachine, WARM_STARTS } from '../kubevirt/new-machine';
import { EMULATION_POLICIES, emulationPolicyLabel } from '../parts/emulation-policy';
import { t } from '../words/words';
import { type Editing, Flaw } from './create-cards';

/** Values of this card's fields; with one of them it is open. */
const OWN = ['ownData', 'labels', 'model', 'mac', 'ports', 'architecture', 'machineType', 'emulationPolicy', 'warmStart', 'grace'] as const;

/** What most machines need not say. */
export function MoreCard(props: Editing & { isOpen: boolean; onToggle: (isOpen: boolean) => void }): React.JSX.Element {
  const { flaws, isOpen } = props;
  const isWrong = Object.keys(flaws).some((key) => key.startsWith('disk-') || OWN.some((own) => own === key));
  return (
    <Card component="section">
      <CardBody>
        <ExpandableSection toggleText={t('More: disks, network, firmware, cloud-init, labels')} isExpanded={isOpen || isWrong} onToggle={(_event, open) => props.onToggle(open)}>
          <div className="av-stack">
            <Disks {...props} />
            <Network {...props} />
            <Hardware {...props} />
            <Data {...props} />
          </div>
        </ExpandableSection>
      </CardBody>
    </Card>
  );
}

function Disks(props: Editing): React.JSX.Element {
  const { machine, set } = props;
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const hasHostDisks = hasFeature(kubeVirtOf(kubeVirts.objects), 'HostDisk');
  const change = (index: number, part: Partial<NewDisk>): void => set({ disks: machine.disks.map((disk, at) => (at === index ? { ...disk, ...part } : disk)) });
  return (
    <div className="av-stack" role="group" aria-label={t('Further disks')}>
      <h3>{t('Further disks')}</h3>
      {machine.disks.map((disk, index) => (
        <DiskRow
          key={diskName(index)}
          name={diskName(index)}
          disk={disk}
          hasHostDisks={hasHostDisks}
          flaw={props.flaws[diskName(index)]}
          onChange={(part) => change(index, part)}
          onRemove={() => set({ disks: machine.disks.filter((_, at) => at !== index) })}
        />
      ))}
      <div>
        <Button variant="secondary" size="sm" onClick={() => set({ disks: [...machine.disks, { kind: 'emptyDisk', source: '', size: '1Gi' }] })}>{t('Add a disk')}</Button>
      </div>
      {!hasHostDisks && <p className="av-subtle av-small">{t('Disks that are files on a node (hostDisk) can be chosen when the feature gate HostDisk is on. Claims (persistentVolumeClaim, dataVolume) are not served.')}</p>}
    </div>
  );
}

function DiskRow(props: { name: string; disk: NewDisk; hasHostDisks: boolean; flaw: string | undefined; onChange: (part: Partial<NewDisk>) => void; onRemove: () => void }): React.JSX.Element {
  const { name, disk, flaw, onChange } = props;
  const kinds: readonly [NewDisk['kind'], string][] = [
    ['emptyDisk', t('Empty; gone when the guest stops')],
    ['containerDisk', t('From an image')],
    ...(props.hasHostDisks || disk.kind === 'hostDisk' ? [['hostDisk', t('A file on the node, kept')] as [NewDisk['kind'], string]] : []),
  ];
  const validated = flaw === undefined ? 'default' : 'error';
  return (
    <div>
      <div className="av-row">
        <FormSelect className="av-field" aria-label={t('Kind of {name}', { name })} value={disk.kind} onChange={(_event, kind) => onChange({ kind: kind as NewDisk['kind'] })}>
          {kinds.map(([kind, label]) => <FormSelectOption key={kind} value={kind} label={label} />)}
        </FormSelect>
        {disk.kind !== 'emptyDisk' && (
          <TextInput className="av-field" aria-label={disk.kind === 'containerDisk' ? t('Image of {name}', { name }) : t('Path of {name}', { name })} value={disk.source} validated={validated} onChange={(_event, source) => onChange({ source })} />
        )}
        {disk.kind !== 'containerDisk' && <TextInput className="av-field" aria-label={t('Size of {name}', { name })} value={disk.size} validated={validated} onChange={(_event, size) => onChange({ size })} />}
        <Button variant="link" onClick={props.onRemove} aria-label={t('Remove {name}', { name })}>{t('Remove')}</Button>
      </div>
      <Flaw text={flaw} />
    </div>
  );
}

/** A line of text, or a choice, with its name and what is wrong with it. */
function Field(props: { id: keyof NewMachine & string; label: string; hint?: string; options?: readonly { value: string; label: string }[] } & Editing): React.JSX.Element {
  const { id, label, machine, options, flaws, set } = props;
  const value = String(machine[id]);
  const change = (next: string): void => set({ [id]: next });
  return (
    <FormGroup label={label} fieldId={`new-${id}`}>
      {options === undefined ? (
        <TextInput id={`new-${id}`} value={value} validated={flaws[id] === undefined ? 'default' : 'error'} onChange={(_event, next) => change(next)} />
      ) : (
        <FormSelect id={`new-${id}`} value={value} onChange={(_event, next) => change(next)}>
          {options.map((option) => <FormSelectOption key={option.value} {...option} />)}
        </FormSelect>
      )}
      <Flaw text={flaws[id]} {...(props.hint === undefined ? {} : { hint: props.hint })} />
    </FormGroup>
  );
}

function Network(props: Editing): React.JSX.Element {
  if (!props.machine.hasNetwork) return <p className="av-subtle">{t('Without a network there is no network card to choose.')}</p>;
  const models = ['', 'virtio', 'e1000', 'e1000e', 'rtl8139'].map((value) => ({ value, label: value === '' ? t("the cluster's (virtio)") : value }));
  return (
    <>
      <h3>{t('Network')}</h3>
      <p className="av-subtle av-small">{t('Binding: masquerade, on the pod network; this release serves no other.')}</p>
      <Field {...props} id="model" label={t('Network card')} options={models} />
      <Field {...props} id="ports" label={t('Ports')} hint={t('That can be reached on the address of the machine, e.g. 22, 53/UDP. Empty: the usual ones (ssh, web, remote desktop).')} />
      <Field {...props} id="mac" label={t('MAC address')} hint={t('Empty: one is made.')} />
    </>
  );
}

function Hardware(props: Editing): React.JSX.Element {
  const architectures = ['', 'amd64', 'arm64'].map((value) => ({ value, label: value === '' ? t("the cluster's") : value }));
  const policies = EMULATION_POLICIES.map((value) => ({ value, label: emulationPolicyLabel(value) }));
  const words: Readonly<Record<string, string>> = {
    '': t("the cluster's"),
    Never: t('Never: it boots'),
    Auto: t('Auto: from a template if there is one'),
    Require: t('Require: it waits until its template is made'),
  };
  const warmStarts = WARM_STARTS.map((value) => ({ value, label: words[value] ?? value }));
  return (
    <>
      <h3>{t('Machine and firmware')}</h3>
      <Field {...props} id="architecture" label={t('Architecture')} options={architectures} hint={t('amd64 starts by BIOS, arm64 by EFI without secure boot; this release serves no other firmware.')} />
      <Field {...props} id="machineType" label={t('Machine type')} hint={t('Empty: as the cluster says; q35 for amd64, virt for arm64.')} />
      <Field {...props} id="emulationPolicy" label={t('Emulation policy')} options={policies} />
      <Field {...props} id="warmStart" label={t('Warm start')} options={warmStarts} hint={t('From a template it answers in tenths of a second. Its image needs the guest agent, or the renewal hook.')} />
      <Field {...props} id="grace" label={t('Seconds to shut down')} hint={t('After these a guest that was asked to stop is turned off. Empty: as usual.')} />
      <Switch id="new-screen" label={t('It has a screen (VNC)')} isChecked={props.machine.hasScreen} onChange={(_event, hasScreen) => props.set({ hasScreen })} />
    </>
  );
}

function Data(props: Editing): React.JSX.Element {
  const { machine, flaws, set } = props;
  const area = (id: 'ownData' | 'labels', label: string, hint: string, rows: number): React.JSX.Element => (
    <FormGroup label={label} fieldId={`new-${id}`}>
      <TextArea id={`new-${id}`} value={machine[id]} rows={rows} resizeOrientation="vertical" className="av-mono" validated={flaws[id] === undefined ? 'default' : 'error'} onChange={(_event, value) => set({ [id]: value })} />
      <Flaw text={flaws[id]} hint={hint} />
    </FormGroup>
  );
  return (
    <>
      <h3>{t('Cloud-init and labels')}</h3>
      {area('ownData', t('User data'), t('A #cloud-config is put together with the user, password and key above; a script stands alone.'), 4)}
      {area('labels', t('Labels'), t('One key=value in each line, for the machine and its instance.'), 2)}
    </>
  );
}
