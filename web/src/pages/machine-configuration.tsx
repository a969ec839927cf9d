import { ActionGroup, Alert, Button, Form } from '@patternfly/react-core';
import { lazy, Suspense, useState } from 'react';

import { write } from '../editor/write';
import type { Review } from '../editor/review-dialog';
import { Failure } from '../kubernetes/failure';
import { RESOURCES } from '../kubernetes/resource';
import { permitted, type Right, RIGHTS } from '../kubevirt/actions';
import { configured, type Configured, configuredOf, flawsIn, patchCommand } from '../kubevirt/configured';
import type { Machine, VirtualMachine } from '../kubevirt/machine';
import { pendingOf, restartWords } from '../kubevirt/pending';
import { AskDialog } from '../parts/ask';
import { FailureAlert } from '../parts/failure-alert';
import { GuardedButton } from '../parts/guarded-button';
import { confirms } from '../parts/keys';
import { notify } from '../parts/notices';
import { oneAtATime } from '../parts/one-at-a-time';
import { t } from '../words/words';
import { CardsCard, DataCard, DisksCard, HardwareCard, LabelsCard, SettingsCard } from './machine-hardware';

const ReviewDialog = lazy(async () => ({ default: (await import('../editor/review-dialog')).ReviewDialog }));

const UPDATE: Right = { verb: 'update', type: RESOURCES.virtualMachines };

/** What a machine is made of, to change: what holds at once, and what on the next restart. */
export function MachineConfiguration(props: { machine: Machine }): React.JSX.Element {
  const { machine } = props;
  return (
    <div className="av-stack">
      <RestartBar machine={machine} />
      <ConfigurationForm key={`${machine.vm.metadata.generation}|${JSON.stringify(machine.vm.metadata.labels)}`} machine={machine} />
    </div>
  );
}

function RestartBar(props: { machine: Machine }): React.JSX.Element | null {
  const [isAsking, setAsking] = useState(false);
  const pending = pendingOf(props.machine);
  const words = restartWords(props.machine);
  if (pending.length === 0 && words === undefined) return null;
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
      {words !== undefined && <p>{t('The server says: {words}', { words })}</p>}
      <ul>
        {pending.map(({ what, runs, wanted }) => <li key={what}>{t('{what}: {runs} now, {wanted} on the next restart', { what, runs, wanted })}</li>)}
      </ul>
      {!permission.may && <p>{permission.why}</p>}
      {isAsking && <AskDialog intent={{ action: 'restart', machines: [props.machine] }} onClose={() => setAsking(false)} />}
    </Alert>
  );
}

function ConfigurationForm(props: { machine: Machine }): React.JSX.Element {
  const { machine } = props;
  const { namespace = 'default', name } = machine.vm.metadata;
  const edited = { type: RESOURCES.virtualMachines, namespace, name };
  // As it was when the form was filled: a status that goes on changes nothing of it.
  const [vm] = useState(machine.vm);
  const [before] = useState(() => configuredOf(vm));
  const [after, setAfter] = useState<Configured>(before);
  const [failure, setFailure] = useState<Failure>();
  const [review, setReview] = useState<Review>();
  const [isBusy, setBusy] = useState(false);
  const [run] = useState(oneAtATime);
  const flaws = flawsIn(after);
  const isDirty = JSON.stringify(before) !== JSON.stringify(after);
  const canReview = isDirty && Object.keys(flaws).length === 0 && !isBusy;
  const set = (part: Partial<Configured>): void => setAfter({ ...after, ...part });

  /** Writes it, or lets the server only say what it would become. Somebody else's change in the meantime is not overwritten. */
  async function send(wanted: VirtualMachine, isDry: boolean): Promise<Review | undefined> {
    const written = await write(edited, vm, wanted, isDry);
    if (written.is === 'conflict') throw new Failure(409, 'Conflict', t('Somebody has changed it meanwhile; what they did will stand here in a moment, and this change must be made anew.'));
    const { body, warnings } = written.answer;
    return { before: vm, wanted, after: body, warnings, command: patchCommand(vm, wanted) };
  }

  async function guarded(act: () => Promise<void>): Promise<void> {
    await run(async () => {
      setBusy(true);
      setFailure(undefined);
      await act().catch((thrown: unknown) => {
        setReview(undefined);
        setFailure(Failure.of(thrown));
      });
      setBusy(false);
    });
  }

  async function look(): Promise<void> {
    setReview(await send(configured(vm, before, after), true));
  }

  async function apply({ wanted }: Review): Promise<void> {
    const written = await send(wanted as VirtualMachine, false);
    setReview(undefined);
    notify({ tone: 'success', title: t('{name} was changed', { name }) });
    for (const warning of written?.warnings ?? []) notify({ tone: 'warning', title: name, detail: warning });
  }

  const editing = { machine, values: after, flaws, set };
  return (
    <Form
      onSubmit={(event) => { event.preventDefault(); if (canReview) void guarded(look); }}
      onKeyDown={(event) => { if (canReview && review === undefined && confirms(event)) void guarded(look); }}
    >
      {failure !== undefined && <FailureAlert title={t('The change was refused')} failure={failure} />}
      <div className="av-two">
        <SettingsCard {...editing} />
        <DisksCard {...editing} />
        <CardsCard {...editing} />
        <HardwareCard {...editing} />
        <DataCard {...editing} />
        <LabelsCard {...editing} />
      </div>
      <ActionGroup className="av-foot">
        <GuardedButton right={UPDATE} namespace={namespace} type="submit" isDisabled={!canReview} isLoading={isBusy}>{t('Review changes')}</GuardedButton>
        <Button variant="link" isDisabled={!isDirty} onClick={() => setAfter(before)}>{t('Undo')}</Button>
      </ActionGroup>
      {review !== undefined && (
        <Suspense fallback={null}>
          <ReviewDialog review={review} isBusy={isBusy} onApply={() => void guarded(() => apply(review))} onClose={() => setReview(undefined)} />
        </Suspense>
      )}
    </Form>
  );
}
