import { ActionGroup, Button, Card, CardBody, CardTitle, Content, Form, FormGroup, FormHelperText, FormSelect, FormSelectOption, HelperText, HelperTextItem, Modal, ModalBody, ModalHeader, NumberInput, PageSection, Skeleton, Switch, TextArea, TextInput, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useMemo, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import type { KubernetesObject } from '../kubernetes/object';
import { collectionPath, RESOURCES } from '../kubernetes/resource';
import { send } from '../kubernetes/request';
import { useWatched } from '../kubernetes/store';
import { CREATE_MACHINE } from '../kubevirt/actions';
import { imagesInUse } from '../kubevirt/images';
import { machinesOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { blank, flawsOf, KNOWN_IMAGES, manifestOf, type NewMachine, SIZES } from '../kubevirt/new-machine';
import { FailureAlert } from '../parts/failure-alert';
import { Forecast } from '../parts/forecast';
import { GuardedButton } from '../parts/guarded-button';
import { confirms } from '../parts/keys';
import { notify } from '../parts/notices';
import { oneAtATime } from '../parts/one-at-a-time';
import { useTitle } from '../parts/title';
import { toYaml } from '../editor/yaml-text';
import { t } from '../words/words';

const ResourceEditor = lazy(async () => ({ default: (await import('../editor/resource-editor')).ResourceEditor }));


/** A new virtual machine: image, size, access, on one page. */
export function CreatePage(): React.JSX.Element {
  useTitle(t('Create a VirtualMachine'));
  const { project, image = '' } = useSearch({ from: '/create' });
  const navigate = useNavigate();
  const [machine, setMachine] = useState<NewMachine>(() => blank(project ?? 'default', image));
  const [failure, setFailure] = useState<Failure>();
  const [isBusy, setBusy] = useState(false);
  const [run] = useState(oneAtATime);
  const [hasTried, setTried] = useState(false);
  const [isYaml, setYaml] = useState(false);
  const flaws = flawsOf(machine);
  const manifest = useMemo(() => manifestOf(machine), [machine]);
  const set = (part: Partial<NewMachine>): void => setMachine({ ...machine, ...part });
  const open = ({ metadata }: KubernetesObject): void =>
    void navigate({ to: '/machines/$namespace/$name', params: { namespace: metadata.namespace ?? 'default', name: metadata.name } });

  async function create(): Promise<void> {
    setTried(true);
    if (Object.keys(flaws).length > 0) return;
    setBusy(true);
    setFailure(undefined);
    const path = collectionPath(RESOURCES.virtualMachines, machine.namespace);
    try {
      await send(`${path}?dryRun=All`, { method: 'POST', body: manifest });
      const { body, warnings } = await send<VirtualMachine>(path, { method: 'POST', body: manifest });
      for (const warning of warnings) notify({ tone: 'warning', title: machine.name, detail: warning });
      open(body);
    } catch (thrown) {
      setFailure(Failure.of(thrown));
      setBusy(false);
    }
  }

  return (
    <PageSection isFilled aria-label={t('Create a VirtualMachine')}>
      <div className="av-stack">
        <Content component="h1">{t('Create a VirtualMachine')}</Content>
        <Form
          onSubmit={(event) => { event.preventDefault(); void run(create); }}
          onKeyDown={(event) => { if (!isBusy && confirms(event)) void run(create); }}
        >
          {failure !== undefined && <FailureAlert title={t('The server does not accept this machine')} failure={failure} />}
          <div className="av-two">
            <ImageCard machine={machine} flaw={hasTried ? flaws.image : undefined} set={set} />
            <SizeCard machine={machine} flaws={flaws} set={set} />
            <AccessCard machine={machine} flaws={hasTried ? flaws : {}} set={set} />
            <Card component="section">
              <CardTitle component="h2">{t('Summary')}</CardTitle>
              <CardBody className="av-stack">
                <Forecast cores={machine.cores} memory={machine.memory} />
                <Switch id="starts" label={t('Start it now')} isChecked={machine.starts} onChange={(_event, starts) => set({ starts })} />
                <ActionGroup>
                  <GuardedButton right={CREATE_MACHINE} namespace={machine.namespace} type="submit" isLoading={isBusy} isDisabled={isBusy}>{t('Create')}</GuardedButton>
                  <Button variant="link" onClick={() => setYaml(true)}>{t('Go on as YAML')}</Button>
                </ActionGroup>
                <p className="av-subtle av-small">{t('Ctrl+Enter creates it.')}</p>
              </CardBody>
            </Card>
          </div>
        </Form>
        {isYaml && (
          <Modal isOpen onClose={() => setYaml(false)} variant="large" aria-labelledby="yaml-title">
            <ModalHeader title={t('The machine as YAML')} labelId="yaml-title" />
            <ModalBody tabIndex={0}>
              <Suspense fallback={<Skeleton height="20rem" screenreaderText={t('Loading')} />}>
                <ResourceEditor type={RESOURCES.virtualMachines} namespace={machine.namespace} template={toYaml(manifest)} onCreated={open} />
              </Suspense>
            </ModalBody>
          </Modal>
        )}
      </div>
    </PageSection>
  );
}

type Flaws = Partial<Record<keyof NewMachine, string>>;

function Flaw(props: { text: string | undefined; hint?: string }): React.JSX.Element | null {
  const text = props.text ?? props.hint;
  if (text === undefined) return null;
  return (
    <FormHelperText>
      <HelperText><HelperTextItem variant={props.text === undefined ? 'default' : 'error'}>{text}</HelperTextItem></HelperText>
    </FormHelperText>
  );
}

function ImageCard(props: { machine: NewMachine; flaw: string | undefined; set: (part: Partial<NewMachine>) => void }): React.JSX.Element {
  const { machine, set } = props;
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const used = useMemo(
    () => imagesInUse(machinesOf(vms.objects, instances.objects)).filter(({ purpose }) => purpose === 'disk').slice(0, 6),
    [vms.objects, instances.objects],
  );
  return (
    <Card component="section">
      <CardTitle component="h2">{t('1. Image')}</CardTitle>
      <CardBody className="av-stack">
        <div className="av-row" role="group" aria-label={t('Known images')}>
          {used.map(({ image }) => (
            <Button key={image} variant={machine.image === image ? 'primary' : 'secondary'} size="sm" onClick={() => set({ image })}>{t('{image} (used here)', { image: image.split('/').at(-1) ?? image })}</Button>
          ))}
          {KNOWN_IMAGES.map(({ name, image, user }) => (
            <Button key={image} variant={machine.image === image ? 'primary' : 'secondary'} size="sm" onClick={() => set({ image, user: machine.user === '' ? user : machine.user })}>{name}</Button>
          ))}
        </div>
        <FormGroup label={t('Container disk')} fieldId="image" isRequired>
          <TextInput id="image" value={machine.image} validated={props.flaw === undefined ? 'default' : 'error'} onChange={(_event, image) => set({ image })} />
          <Flaw text={props.flaw} hint={t('A disk image inside a container image. The node pulls it when the machine starts.')} />
        </FormGroup>
      </CardBody>
    </Card>
  );
}

function SizeCard(props: { machine: NewMachine; flaws: Flaws; set: (part: Partial<NewMachine>) => void }): React.JSX.Element {
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
          <NumberInput inputProps={{ id: 'new-cores' }} inputAriaLabel={t('Processors')} minusBtnAriaLabel={t('One processor less')} plusBtnAriaLabel={t('One processor more')} value={machine.cores} min={1}
            onMinus={() => set({ cores: Math.max(1, machine.cores - 1) })} onPlus={() => set({ cores: machine.cores + 1 })} onChange={(event) => set({ cores: Number(event.currentTarget.value) || 1 })} />
        </FormGroup>
        <FormGroup label={t('Memory')} fieldId="new-memory">
          <TextInput id="new-memory" value={machine.memory} validated={flaws.memory === undefined ? 'default' : 'error'} onChange={(_event, memory) => set({ memory })} />
          <Flaw text={flaws.memory} />
        </FormGroup>
        <Switch id="network" label={t('Connect it to the network')} isChecked={machine.hasNetwork} onChange={(_event, hasNetwork) => set({ hasNetwork })} />
      </CardBody>
    </Card>
  );
}

function AccessCard(props: { machine: NewMachine; flaws: Flaws; set: (part: Partial<NewMachine>) => void }): React.JSX.Element {
  const { machine, flaws, set } = props;
  const namespaces = useWatched<KubernetesObject>(RESOURCES.namespaces);
  const projects = [...new Set([machine.namespace, ...namespaces.objects.keys()])].sort();
  return (
    <Card component="section">
      <CardTitle component="h2">{t('3. Name and access')}</CardTitle>
      <CardBody className="av-stack">
        <FormGroup label={t('Name')} fieldId="name" isRequired>
          <TextInput id="name" value={machine.name} validated={flaws.name === undefined ? 'default' : 'error'} onChange={(_event, name) => set({ name })} />
          <Flaw text={flaws.name} />
        </FormGroup>
        <FormGroup label={t('Project')} fieldId="namespace">
          <FormSelect id="namespace" value={machine.namespace} onChange={(_event, namespace) => set({ namespace })}>
            {projects.map((one) => <FormSelectOption key={one} value={one} label={one} />)}
          </FormSelect>
        </FormGroup>
        <FormGroup label={t('User')} fieldId="user">
          <TextInput id="user" value={machine.user} autoComplete="off" onChange={(_event, user) => set({ user })} />
        </FormGroup>
        <FormGroup label={t('Password')} fieldId="password">
          <TextInput id="password" type="password" autoComplete="new-password" value={machine.password} onChange={(_event, password) => set({ password })} />
          <Flaw text={undefined} hint={t('Given to the guest by cloud-init; it stands readable in the VirtualMachine.')} />
        </FormGroup>
        <FormGroup label={t('SSH public key')} fieldId="key">
          <TextArea id="key" value={machine.sshKey} validated={flaws.sshKey === undefined ? 'default' : 'error'} rows={2} resizeOrientation="vertical" onChange={(_event, sshKey) => set({ sshKey })} />
          <Flaw text={flaws.sshKey} />
        </FormGroup>
      </CardBody>
    </Card>
  );
}
