import { ActionGroup, Alert, Button, Card, CardBody, CardTitle, Form, FormGroup, FormHelperText, FormSelect, FormSelectOption, HelperText, HelperTextItem, NumberInput, TextInput } from '@patternfly/react-core';
import { useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { patchObject } from '../kubernetes/patch';
import { objectPath, RESOURCES } from '../kubernetes/resource';
import { permitted, type Right, RIGHTS } from '../kubevirt/actions';
import type { Machine } from '../kubevirt/machine';
import { patchOf, pendingOf, processorsPerCore, type Settings, settingsOf } from '../kubevirt/pending';
import { AskDialog } from '../parts/ask';
import { EMULATION_POLICIES, emulationPolicyLabel } from '../parts/emulation-policy';
import { FailureAlert } from '../parts/failure-alert';
import { GuardedButton } from '../parts/guarded-button';
import { notify } from '../parts/notices';
import { quantity } from '../words/measures';
import { t } from '../words/words';

const PATCH: Right = { verb: 'patch', type: RESOURCES.virtualMachines };
const STRATEGIES = ['Always', 'RerunOnFailure', 'Manual', 'Once', 'Halted'];

/** What a machine is made of, to change: what holds at once, and what on the next restart. */
export function MachineConfiguration(props: { machine: Machine }): React.JSX.Element {
  const { machine } = props;
  return (
    <div className="av-stack">
      <RestartBar machine={machine} />
      <div className="av-two">
        <SettingsForm key={machine.vm.metadata.generation} machine={machine} />
        <Card component="section">
          <CardTitle component="h2">{t('Disks, networks, cloud-init, labels')}</CardTitle>
          <CardBody>
            <p>{t('These are changed in the tab YAML, which checks the change against the server and shows the difference before anything is written.')}</p>
          </CardBody>
        </Card>
      </div>
    </div>
  );
}

function RestartBar(props: { machine: Machine }): React.JSX.Element | null {
  const [isAsking, setAsking] = useState(false);
  const pending = pendingOf(props.machine);
  if (pending.length === 0) return null;
  const permission = permitted('restart', props.machine);
  return (
    <Alert
      variant="warning"
      isInline
      title={t('The running instance does not have these changes yet')}
      actionLinks={
        <GuardedButton right={RIGHTS.restart} namespace={props.machine.vm.metadata.namespace} variant="link" isInline isDisabled={!permission.may} onClick={() => setAsking(true)}>{t('Restart to apply')}</GuardedButton>
      }
    >
      <ul>
        {pending.map(({ what, runs, wanted }) => <li key={what}>{t('{what}: {runs} now, {wanted} on the next restart', { what, runs, wanted })}</li>)}
      </ul>
      {!permission.may && <p>{permission.why}</p>}
      {isAsking && <AskDialog intent={{ action: 'restart', machines: [props.machine] }} onClose={() => setAsking(false)} />}
    </Alert>
  );
}

function SettingsForm(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const before = settingsOf(props.machine);
  const [after, setAfter] = useState<Settings>(before);
  const [failure, setFailure] = useState<Failure>();
  const [isBusy, setBusy] = useState(false);
  const perCore = processorsPerCore(props.machine);
  const coresLabel = perCore === 1 ? t('Processors') : t('Cores per socket');
  const patch = patchOf(before, after);
  const isMemoryValid = (quantity(after.memory) ?? 0) > 0;
  const set = (part: Partial<Settings>): void => setAfter({ ...after, ...part });

  async function save(): Promise<void> {
    if (patch === undefined) return;
    setBusy(true);
    setFailure(undefined);
    const path = objectPath(RESOURCES.virtualMachines, namespace, name);
    try {
      // The server's word first: a change that it refuses leaves nothing half done.
      await patchObject(path, patch, true);
      const { warnings } = await patchObject(path, patch, false);
      notify({ tone: 'success', title: t('{name} was changed', { name }) });
      for (const warning of warnings) notify({ tone: 'warning', title: name, detail: warning });
    } catch (thrown) {
      setFailure(Failure.of(thrown));
    }
    setBusy(false);
  }

  return (
    <Card component="section">
      <CardTitle component="h2">{t('Settings')}</CardTitle>
      <CardBody>
        <Form onSubmit={(event) => { event.preventDefault(); void save(); }}>
          {failure !== undefined && <FailureAlert title={t('The change was refused')} failure={failure} />}
          <FormGroup label={coresLabel} fieldId="cores">
            <NumberInput
              inputName="cores"
              inputProps={{ id: 'cores' }}
              inputAriaLabel={coresLabel}
              minusBtnAriaLabel={perCore === 1 ? t('One processor less') : t('One core per socket less')}
              plusBtnAriaLabel={perCore === 1 ? t('One processor more') : t('One core per socket more')}
              value={after.cores}
              min={1}
              max={64}
              onMinus={() => set({ cores: Math.max(1, after.cores - 1) })}
              onPlus={() => set({ cores: after.cores + 1 })}
              onChange={(event) => set({ cores: Math.max(1, Number(event.currentTarget.value) || 1) })}
            />
            {perCore > 1 && <p className="av-subtle av-small">{t('{n} processors in all: each core per socket counts {times} times, for sockets and threads.', { n: after.cores * perCore, times: perCore })}</p>}
            <Holds when={t('on the next restart')} />
          </FormGroup>
          <FormGroup label={t('Memory')} fieldId="memory">
            <TextInput id="memory" value={after.memory} validated={isMemoryValid ? 'default' : 'error'} onChange={(_event, memory) => set({ memory })} />
            <Holds when={isMemoryValid ? t('on the next restart') : t('write an amount such as 512Mi or 2Gi')} isError={!isMemoryValid} />
          </FormGroup>
          <FormGroup label={t('Run strategy')} fieldId="strategy">
            <FormSelect id="strategy" value={after.runStrategy} onChange={(_event, runStrategy) => set({ runStrategy })}>
              {STRATEGIES.map((one) => <FormSelectOption key={one} value={one} label={one} />)}
            </FormSelect>
            <Holds when={t('at once')} />
          </FormGroup>
          <FormGroup label={t('Emulation policy')} fieldId="policy">
            <FormSelect id="policy" value={after.emulationPolicy} onChange={(_event, emulationPolicy) => set({ emulationPolicy })}>
              {EMULATION_POLICIES.map((one) => <FormSelectOption key={one} value={one} label={emulationPolicyLabel(one)} />)}
            </FormSelect>
            <Holds when={t("on the next restart; a namespace's or a node's cap stands above it")} />
          </FormGroup>
          <ActionGroup>
            <GuardedButton right={PATCH} namespace={namespace} type="submit" isDisabled={patch === undefined || !isMemoryValid || isBusy} isLoading={isBusy}>{t('Save')}</GuardedButton>
            <Button variant="link" isDisabled={patch === undefined} onClick={() => setAfter(before)}>{t('Undo')}</Button>
          </ActionGroup>
        </Form>
      </CardBody>
    </Card>
  );
}

function Holds(props: { when: string; isError?: boolean }): React.JSX.Element {
  return (
    <FormHelperText>
      <HelperText><HelperTextItem variant={props.isError === true ? 'error' : 'default'}>{props.isError === true ? props.when : t('Holds {when}.', { when: props.when })}</HelperTextItem></HelperText>
    </FormHelperText>
  );
}
