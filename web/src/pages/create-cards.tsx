import { Button, Card, CardBody, CardTitle, ClipboardCopy, FormGroup, FormHelperText, FormSelect, FormSelectOption, HelperText, HelperTextItem, NumberInput, Switch, TextArea, TextInput, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import { useMemo, useState } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { imagesInUse, keepersOf } from '../kubevirt/images';
import { machinesOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { type Flaws, KNOWN_IMAGES, type NewMachine, passwordOf, SIZES } from '../kubevirt/new-machine';
import type { Node } from '../kubevirt/node';
import { t } from '../words/words';

/** What each part of the form works on. `flaws` are those that are shown. */
export interface Editing {
  machine: NewMachine;
  flaws: Flaws;
  set: (part: Partial<NewMachine>) => void;
}

/** What is wrong with a field, else a hint. */
export function Flaw(props: { text: string | undefined; hint?: string }): React.JSX.Element | null {
  const text = props.text ?? props.hint;
  if (text === undefined) return null;
  return (
    <FormHelperText>
      <HelperText><HelperTextItem variant={props.text === undefined ? 'default' : 'error'}>{text}</HelperTextItem></HelperText>
    </FormHelperText>
  );
}

const validity = (flaw: string | undefined): 'default' | 'error' => (flaw === undefined ? 'default' : 'error');

/** Images of machines that are here, offered at most beside the known ones. */
const USED = 6;

/** From which image the machine starts. */
export function ImageCard(props: Editing): React.JSX.Element {
  const { machine, flaws, set } = props;
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const keepers = keepersOf(machine.image.trim(), [...nodes.objects.values()]);
  const used = useMemo(
    () => imagesInUse(machinesOf(vms.objects, instances.objects)).filter(({ purpose }) => purpose === 'disk').slice(0, USED),
    [vms.objects, instances.objects],
  );
  const variant = (image: string): 'primary' | 'secondary' => (machine.image === image ? 'primary' : 'secondary');
  return (
    <Card component="section">
      <CardTitle component="h2">{t('1. Image')}</CardTitle>
      <CardBody className="av-stack">
        <div className="av-row" role="group" aria-label={t('Known images')}>
          {used.map(({ image }) => (
            <Button key={image} variant={variant(image)} size="sm" onClick={() => set({ image })}>{t('{image} (used here)', { image: image.split('/').at(-1) ?? image })}</Button>
          ))}
          {KNOWN_IMAGES.map(({ name, image, user }) => (
            <Button key={image} variant={variant(image)} size="sm" onClick={() => set({ image, user: machine.user === '' ? user : machine.user })}>{name}</Button>
          ))}
        </div>
        <FormGroup label={t('Container disk')} fieldId="image" isRequired>
          <TextInput id="image" value={machine.image} validated={validity(flaws.image)} onChange={(_event, image) => set({ image })} />
          <Flaw text={flaws.image} hint={keepers.length > 0 ? t('Kept on {nodes}: nothing is pulled there.', { nodes: keepers.join(', ') }) : t('A disk image inside a container image. The node pulls it when the machine starts.')} />
        </FormGroup>
      </CardBody>
    </Card>
  );
}

/** How large it is. */
export function SizeCard(props: Editing): React.JSX.Element {
  const { machine, flaws, set } = props;
  return (
    <Card component="section">
      <CardTitle component="h2">{t('2. Size')}</CardTitle>
      <CardBody className="av-stack">
        <ToggleGroup aria-label={t('Sizes')}>
          {SIZES.map(({ name, cores, memory }) => (
            <ToggleGroupItem key={name} buttonId={`size-${name}`} text={t('{name}: {cores} CPU, {memory}', { name, cores, memory })} isSelected={machine.cores === cores && machine.memory === memory} onChange={() => set({ cores, memory })} />
          ))}
        </ToggleGroup>
        <FormGroup label={t('Processors')} fieldId="new-cores">
          <NumberInput inputProps={{ id: 'new-cores' }} inputAriaLabel={t('Processors')} minusBtnAriaLabel={t('One processor less')} plusBtnAriaLabel={t('One processor more')} value={machine.cores} min={1} validated={validity(flaws.cores)}
            onMinus={() => set({ cores: Math.max(1, machine.cores - 1) })} onPlus={() => set({ cores: machine.cores + 1 })} onChange={(event) => set({ cores: Number(event.currentTarget.value) || 1 })} />
          <Flaw text={flaws.cores} />
        </FormGroup>
        <FormGroup label={t('Memory')} fieldId="new-memory">
          <TextInput id="new-memory" value={machine.memory} validated={validity(flaws.memory)} onChange={(_event, memory) => set({ memory })} />
          <Flaw text={flaws.memory} />
        </FormGroup>
        <Switch id="network" label={t('Connect it to the network')} isChecked={machine.hasNetwork} onChange={(_event, hasNetwork) => set({ hasNetwork })} />
      </CardBody>
    </Card>
  );
}

/** What it is called, and who may log in. */
export function AccessCard(props: Editing): React.JSX.Element {
  const { machine, flaws, set } = props;
  const namespaces = useWatched<KubernetesObject>(RESOURCES.namespaces);
  const projects = [...new Set([machine.namespace, ...namespaces.objects.keys()])].sort();
  return (
    <Card component="section">
      <CardTitle component="h2">{t('3. Name and access')}</CardTitle>
      <CardBody className="av-stack">
        <FormGroup label={t('Name')} fieldId="name" isRequired>
          <TextInput id="name" value={machine.name} validated={validity(flaws.name)} onChange={(_event, name) => set({ name })} />
          <Flaw text={flaws.name} />
        </FormGroup>
        <FormGroup label={t('Project')} fieldId="namespace">
          <FormSelect id="namespace" value={machine.namespace} onChange={(_event, namespace) => set({ namespace })}>
            {projects.map((one) => <FormSelectOption key={one} value={one} label={one} />)}
          </FormSelect>
          <Flaw text={flaws.namespace} />
        </FormGroup>
        <FormGroup label={t('User')} fieldId="user">
          <TextInput id="user" value={machine.user} autoComplete="off" onChange={(_event, user) => set({ user })} />
        </FormGroup>
        <Password {...props} />
        <FormGroup label={t('SSH public key')} fieldId="key">
          <TextArea id="key" value={machine.sshKey} validated={validity(flaws.sshKey)} rows={2} resizeOrientation="vertical" onChange={(_event, sshKey) => set({ sshKey })} />
          <Flaw text={flaws.sshKey} />
        </FormGroup>
      </CardBody>
    </Card>
  );
}

/** A password of a person's own, or one that is made here and shown once. */
function Password(props: Editing): React.JSX.Element {
  const { machine, set } = props;
  const [made, setMade] = useState<string>();
  const isMade = made !== undefined && made === machine.password;
  function make(): void {
    const password = passwordOf((bytes) => crypto.getRandomValues(bytes));
    setMade(password);
    set({ password });
  }
  return (
    <FormGroup label={t('Password')} fieldId="password">
      <div className="av-row">
        <TextInput id="password" className="av-field" type="password" autoComplete="new-password" value={machine.password} onChange={(_event, password) => set({ password })} />
        <Button variant="secondary" onClick={make}>{t('Make one')}</Button>
      </div>
      {isMade && <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('The password that was made')}>{made}</ClipboardCopy>}
      <Flaw text={undefined} hint={t('Given to the guest by cloud-init; it stands readable in the VirtualMachine. The console keeps it nowhere.')} />
    </FormGroup>
  );
}
