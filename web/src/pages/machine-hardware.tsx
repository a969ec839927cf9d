import { Button, Card, CardBody, CardTitle, DescriptionList, FormGroup, FormHelperText, FormSelect, FormSelectOption, HelperText, HelperTextItem, NumberInput, Switch, TextArea, TextInput } from '@patternfly/react-core';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { hasFeature, type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import { addedDisk, type CardRow, type Configured, type DiskRow, processorsPerCore } from '../kubevirt/configured';
import type { Machine } from '../kubevirt/machine';
import type { Flaws } from '../kubevirt/new-machine';
import { EMULATION_POLICIES, emulationPolicyLabel } from '../parts/emulation-policy';
import { Fact } from '../parts/fact';
import { t } from '../words/words';

/** What each card of the form works on. */
export interface Editing {
  machine: Machine;
  values: Configured;
  flaws: Flaws;
  set: (part: Partial<Configured>) => void;
}

const STRATEGIES = ['Always', 'RerunOnFailure', 'Manual', 'Once', 'Halted'];
const BUSES = ['', 'virtio', 'scsi', 'sata', 'usb'];
const MODELS = ['', 'virtio', 'e1000', 'e1000e', 'rtl8139'];

/** When a change of a field holds, or what is wrong with the field. */
function Holds(props: { isLive?: boolean; flaw?: string | undefined; note?: string | undefined }): React.JSX.Element {
  const when = props.isLive === true ? t('Holds at once.') : t('Holds on the next restart.');
  return (
    <FormHelperText>
      <HelperText>
        <HelperTextItem variant={props.flaw === undefined ? 'default' : 'error'}>{props.flaw ?? [when, props.note].filter(Boolean).join(' ')}</HelperTextItem>
      </HelperText>
    </FormHelperText>
  );
}

function Choose(props: { id?: string; label?: string; value: string; options: readonly string[]; nameOf?: (option: string) => string; onChange: (value: string) => void }): React.JSX.Element {
  const { options, value, nameOf = (option) => (option === '' ? t('as usual') : option) } = props;
  // What stands there already can be kept, whatever it is.
  const all = options.includes(value) ? options : [value, ...options];
  return (
    <FormSelect {...(props.id === undefined ? { 'aria-label': props.label } : { id: props.id })} className="av-field" value={value} onChange={(_event, chosen) => props.onChange(chosen)}>
      {all.map((one) => <FormSelectOption key={one} value={one} label={nameOf(one)} />)}
    </FormSelect>
  );
}

/** How large the machine is, and when it runs. */
export function SettingsCard(props: Editing): React.JSX.Element {
  const { values, flaws, set } = props;
  const perCore = processorsPerCore(props.machine);
  const coresLabel = perCore === 1 ? t('Processors') : t('Cores per socket');
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Settings')}</CardTitle>
      <CardBody className="av-stack">
        <FormGroup label={coresLabel} fieldId="cores">
          <NumberInput
            inputName="cores"
            inputProps={{ id: 'cores' }}
            inputAriaLabel={coresLabel}
            minusBtnAriaLabel={perCore === 1 ? t('One processor less') : t('One core per socket less')}
            plusBtnAriaLabel={perCore === 1 ? t('One processor more') : t('One core per socket more')}
            value={values.cores}
            min={1}
            onMinus={() => set({ cores: Math.max(1, values.cores - 1) })}
            onPlus={() => set({ cores: values.cores + 1 })}
            onChange={(event) => set({ cores: Math.max(1, Number(event.currentTarget.value) || 1) })}
          />
          {perCore > 1 && <p className="av-subtle av-small">{t('{n} processors in all: each core per socket counts {times} times, for sockets and threads.', { n: values.cores * perCore, times: perCore })}</p>}
          <Holds flaw={flaws.cores} />
        </FormGroup>
        <FormGroup label={t('Memory')} fieldId="memory">
          <TextInput id="memory" value={values.memory} validated={flaws.memory === undefined ? 'default' : 'error'} onChange={(_event, memory) => set({ memory })} />
          <Holds flaw={flaws.memory} />
        </FormGroup>
        <FormGroup label={t('Run strategy')} fieldId="strategy">
          <Choose id="strategy" value={values.runStrategy} options={STRATEGIES} onChange={(runStrategy) => set({ runStrategy })} />
          <Holds isLive />
        </FormGroup>
        <FormGroup label={t('Emulation policy')} fieldId="policy">
          <Choose id="policy" value={values.emulationPolicy} options={EMULATION_POLICIES} nameOf={emulationPolicyLabel} onChange={(emulationPolicy) => set({ emulationPolicy })} />
          <Holds note={t("A namespace's or a node's cap stands above it.")} />
        </FormGroup>
      </CardBody>
    </Card>
  );
}

/** Its disks, and from which it boots. */
export function DisksCard(props: Editing): React.JSX.Element {
  const { values, flaws, set } = props;
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const kinds = ['emptyDisk', 'containerDisk', ...(hasFeature(kubeVirtOf(kubeVirts.objects), 'HostDisk') ? ['hostDisk'] : [])];
  const change = (name: string, part: Partial<DiskRow>): void => set({ disks: values.disks.map((disk) => (disk.name === name ? { ...disk, ...part } : disk)) });
  const isNew = ({ name }: DiskRow): boolean => !(props.machine.vm.spec.template?.spec.volumes ?? []).some((volume) => volume.name === name);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Disks and boot order')}</CardTitle>
      <CardBody className="av-stack">
        {values.disks.length === 0 && <p className="av-subtle">{t('No disk.')}</p>}
        {values.disks.map((disk) => {
          const { name } = disk;
          const validated = flaws[`disk ${name}`] === undefined ? 'default' : 'error';
          return (
            <div key={name} role="group" aria-label={t('Disk {name}', { name })}>
              <div className="av-row">
                <strong>{name}</strong>
                {isNew(disk) ? <Choose label={t('Kind of {name}', { name })} value={disk.kind} options={kinds} onChange={(kind) => change(name, { kind })} /> : <span className="av-subtle">{disk.kind}</span>}
                {(disk.kind === 'containerDisk' || disk.kind === 'hostDisk') && <TextInput className="av-field" aria-label={disk.kind === 'hostDisk' ? t('Path of {name}', { name }) : t('Image of {name}', { name })} value={disk.source} validated={validated} onChange={(_event, source) => change(name, { source })} />}
                {(disk.kind === 'emptyDisk' || disk.kind === 'hostDisk') && <TextInput className="av-field" aria-label={t('Size of {name}', { name })} value={disk.size} validated={validated} onChange={(_event, size) => change(name, { size })} />}
                <Choose label={t('Bus of {name}', { name })} value={disk.bus} options={BUSES} onChange={(bus) => change(name, { bus })} />
                <TextInput className="av-field" aria-label={t('Place of {name} in the boot order', { name })} placeholder={t('boot order')} value={disk.bootOrder} validated={validated} onChange={(_event, bootOrder) => change(name, { bootOrder })} />
                <Button variant="link" aria-label={t('Remove {name}', { name })} onClick={() => set({ disks: values.disks.filter((one) => one.name !== name) })}>{t('Remove')}</Button>
              </div>
              <Holds flaw={flaws[`disk ${name}`]} />
            </div>
          );
        })}
        <div><Button variant="secondary" size="sm" onClick={() => set({ disks: [...values.disks, addedDisk(values.disks, props.machine.vm)] })}>{t('Add a disk')}</Button></div>
        <p className="av-subtle av-small">{t('Disks with a number are tried first, the lowest before others. What an empty disk or an image held is lost when it is taken away.')}</p>
      </CardBody>
    </Card>
  );
}

/** Its network cards. */
export function CardsCard(props: Editing): React.JSX.Element {
  const { values, flaws, set } = props;
  const change = (name: string, part: Partial<CardRow>): void => set({ cards: values.cards.map((card) => (card.name === name ? { ...card, ...part } : card)) });
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Network cards')}</CardTitle>
      <CardBody className="av-stack">
        {values.cards.length === 0 && (
          <p className="av-subtle">{props.machine.vm.spec.template?.spec.domain.devices.autoattachPodInterface === false ? t('No network card.') : t('None is named: the machine is given one on the pod network.')}</p>
        )}
        {values.cards.map(({ name, model, mac, ports }) => (
          <div key={name} role="group" aria-label={t('Network card {name}', { name })}>
            <div className="av-row">
              <strong>{name}</strong>
              <Choose label={t('Model of {name}', { name })} value={model} options={MODELS} onChange={(next) => change(name, { model: next })} />
              <TextInput className="av-field" aria-label={t('MAC address of {name}', { name })} placeholder={t('MAC address: made')} value={mac} onChange={(_event, next) => change(name, { mac: next.trim() })} />
              <TextInput className="av-field" aria-label={t('Ports of {name}', { name })} placeholder={t('ports: the usual')} value={ports} validated={flaws[`card ${name}`] === undefined ? 'default' : 'error'} onChange={(_event, next) => change(name, { ports: next })} />
              <Button variant="link" aria-label={t('Remove {name}', { name })} onClick={() => set({ cards: values.cards.filter((one) => one.name !== name) })}>{t('Remove')}</Button>
            </div>
            <Holds flaw={flaws[`card ${name}`]} note={t('Binding: masquerade on the pod network.')} />
          </div>
        ))}
        {values.cards.length === 0 && <div><Button variant="secondary" size="sm" onClick={() => set({ cards: [{ name: 'default', model: '', mac: '', ports: '' }] })}>{t('Add a network card')}</Button></div>}
      </CardBody>
    </Card>
  );
}

/** What the machine is, and how it starts. */
export function HardwareCard(props: Editing): React.JSX.Element {
  const { machine, values, flaws, set } = props;
  const spec = machine.vmi?.spec ?? machine.vm.spec.template?.spec;
  const architecture = spec?.architecture;
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Machine and firmware')}</CardTitle>
      <CardBody className="av-stack">
        <DescriptionList isHorizontal isCompact>
          <Fact term={t('Architecture')}>{architecture ?? t("the cluster's")}</Fact>
          <Fact term={t('Firmware')}>{architecture === 'arm64' ? t('EFI without secure boot, the only one served for arm64') : t('BIOS, the only one served for amd64')}</Fact>
          {spec?.domain.firmware?.uuid !== undefined && <Fact term={t('UUID')}><span className="av-mono">{spec.domain.firmware.uuid}</span></Fact>}
          {spec?.domain.firmware?.kernelBoot?.container?.image !== undefined && <Fact term={t('Kernel from')}><span className="av-mono">{spec.domain.firmware.kernelBoot.container.image}</span></Fact>}
        </DescriptionList>
        <FormGroup label={t('Machine type')} fieldId="machine-type">
          <TextInput id="machine-type" value={values.machineType} onChange={(_event, machineType) => set({ machineType: machineType.trim() })} />
          <Holds note={t('Empty: as the cluster says; q35 for amd64, virt for arm64.')} />
        </FormGroup>
        <FormGroup label={t('Seconds to shut down')} fieldId="grace">
          <TextInput id="grace" value={values.grace} validated={flaws.grace === undefined ? 'default' : 'error'} onChange={(_event, grace) => set({ grace: grace.trim() })} />
          <Holds flaw={flaws.grace} note={t('Empty: as usual.')} />
        </FormGroup>
        <div>
          <Switch id="screen" label={t('It has a screen (VNC)')} isChecked={values.hasScreen} onChange={(_event, hasScreen) => set({ hasScreen })} />
          <Holds />
        </div>
      </CardBody>
    </Card>
  );
}

/** What cloud-init tells its guest. */
export function DataCard(props: Editing): React.JSX.Element {
  const { values, set } = props;
  const source = props.machine.vm.spec.template?.spec.volumes?.find(({ cloudInitNoCloud }) => cloudInitNoCloud !== undefined)?.cloudInitNoCloud;
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Cloud-init')}</CardTitle>
      <CardBody>
        {values.userData !== undefined ? (
          <FormGroup label={t('User data')} fieldId="user-data">
            <TextArea id="user-data" className="av-mono" rows={6} resizeOrientation="vertical" value={values.userData} onChange={(_event, userData) => set({ userData })} />
            <Holds note={t('A guest whose disk is kept reads most of it on its first start only.')} />
          </FormGroup>
        ) : (
          <p className="av-subtle">
            {source?.secretRef?.name !== undefined ? t('It stands in the Secret {name}.', { name: source.secretRef.name }) : source !== undefined ? t('It is written in base64; the tab YAML shows it.') : t('None. The tab YAML adds a cloudInitNoCloud volume.')}
          </p>
        )}
      </CardBody>
    </Card>
  );
}

/** Labels, for selectors and filters. */
export function LabelsCard(props: Editing): React.JSX.Element {
  const { values, flaws, set } = props;
  const area = (id: 'labels' | 'instanceLabels', label: string, isLive: boolean): React.JSX.Element => (
    <FormGroup label={label} fieldId={id}>
      <TextArea id={id} className="av-mono" rows={2} resizeOrientation="vertical" value={values[id]} validated={flaws[id] === undefined ? 'default' : 'error'} onChange={(_event, text) => set({ [id]: text })} />
      <Holds isLive={isLive} flaw={flaws[id]} note={t('One key=value in each line.')} />
    </FormGroup>
  );
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Labels')}</CardTitle>
      <CardBody className="av-stack">
        {area('labels', t('Of the machine'), true)}
        {area('instanceLabels', t('Of its instances'), false)}
      </CardBody>
    </Card>
  );
}
