import { ActionGroup, Alert, Button, Form } from '@patternfly/react-core';
import { lazy, Suspense, useMemo, useState } from 'react';

import { newsFor } from '../editor/rebase';
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
      <ConfigurationForm machine={machine} />
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
  const [vm, setVm] = useState(machine.vm);
  const before = useMemo(() => configuredOf(vm), [vm]);
  const [after, setAfter] = useState<Configured>(before);
  const [failure, setFailure] = useState<Failure>();
  const [review, setReview] = useState<Review>();
  const [isBusy, setBusy] = useState(false);
  const [run] = useState(oneAtATime);
  const flaws = flawsIn(after);
  const isDirty = JSON.stringify(before) !== JSON.stringify(after);
  const canReview = isDirty && Object.keys(flaws).length === 0 && !isBusy;
  // An own write may be seen before it is answered: while one is under way nothing is news.
  const news = newsFor(isDirty || isBusy || review !== undefined, machine.vm, vm);
  if (news === 'take') take(machine.vm);
  const set = (part: Partial<Configured>): void => setAfter({ ...after, ...part });

  /** Fills the form anew. */
  function take(theirs: VirtualMachine): void {
    setVm(theirs);
    setAfter(configuredOf(theirs));
    setReview(undefined);
    setFailure(undefined);
  }

  /** Writes it, or lets the server only say what it would become. Somebody else's change in the meantime is not overwritten. */
  async function send(base: VirtualMachine, wanted: VirtualMachine, isDry: boolean): Promise<Review> {
    const written = await write(edited, base, wanted, isDry);
    if (written.is === 'conflict') throw new Failure(409, 'Conflict', t('Somebody has changed it meanwhile: discard these changes to see theirs, and make them anew.'));
    const { body, warnings } = written.answer;
    return { before: base, wanted, after: body, warnings, command: patchCommand(base, wanted) };
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
    setReview(await send(vm, configured(vm, before, after), true));
  }

  async function apply({ before: base, wanted }: Review): Promise<void> {
    const written = await send(base as VirtualMachine, wanted as VirtualMachine, false);
    take(written.after as VirtualMachine);
    notify({ tone: 'success', title: t('{name} was changed', { name }) });
    for (const warning of written.warnings) notify({ tone: 'warning', title: name, detail: warning });
  }

  const editing = { machine, values: after, flaws, set };
  return (
    <Form
      onSubmit={(event) => { event.preventDefault(); if (canReview) void guarded(look); }}
      onKeyDown={(event) => { if (canReview && review === undefined && confirms(event)) void guarded(look); }}
    >
      {news === 'tell' && !isBusy && (
        <Alert
          variant="warning"
          isInline
          title={t('Somebody has changed it meanwhile')}
          actionLinks={<Button variant="link" isInline onClick={() => take(machine.vm)}>{t('Discard my changes and show theirs')}</Button>}
        />
      )}
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
