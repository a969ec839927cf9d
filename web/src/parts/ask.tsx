import { Alert, Button, ClipboardCopy, ClipboardCopyVariant, ExpandableSection, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { keyOf } from '../kubernetes/object';
import type { Action } from '../kubevirt/actions';
import type { Machine } from '../kubevirt/machine';
import { commandOf, perform } from '../kubevirt/perform';
import { plural, t } from '../words/words';
import { asksAlways } from './consent';
import { notify } from './notices';

/** What a person is about to do, with which machines. */
export interface Intent {
  action: Action;
  machines: readonly Machine[];
}

/** Names of actions, as buttons say them. */
export function actionLabel(action: Action): string {
  return {
    start: t('Start'), stop: t('Stop'), restart: t('Restart'), pause: t('Pause'), unpause: t('Unpause'), suspend: t('Suspend'), resume: t('Resume'), delete: t('Delete'),
  }[action];
}

/** Actions that are done without asking, if they are about one machine: they lose nothing. */
const HARMLESS: readonly Action[] = ['start', 'unpause', 'pause', 'resume'];

/** Must a person confirm this? */
export function needsConsent(intent: Intent): boolean {
  return asksAlways() || intent.machines.length > 1 || !HARMLESS.includes(intent.action);
}

/** A machine with which something could not be done, and why. */
interface Failed {
  machine: Machine;
  failure: Failure;
}

/** Does it with each machine, one after the other, and tells how it went; `onDone` of each at once. What failed comes back. */
export async function carryOut(intent: Intent, onDone: (machine: Machine) => void = () => undefined): Promise<Failed[]> {
  const failed: Failed[] = [];
  for (const machine of intent.machines) {
    const { name, namespace = 'default' } = machine.vm.metadata;
    try {
      const { warnings } = await perform(intent.action, namespace, name);
      for (const warning of warnings) notify({ tone: 'warning', title: name, detail: warning });
      onDone(machine);
    } catch (thrown) {
      failed.push({ machine, failure: Failure.of(thrown) });
    }
  }
  const done = intent.machines.length - failed.length;
  if (done > 0) {
    const action = actionLabel(intent.action);
    const [first] = intent.machines;
    const title = done === 1 && intent.machines.length === 1
      ? t('{action}: {name} was asked', { action, name: first?.vm.metadata.name ?? '' })
      : plural(done, '{action}: {count} machine was asked', '{action}: {count} machines were asked', { action });
    notify({ tone: 'success', title });
  }
  return failed;
}

function consequence(action: Action): string {
  switch (action) {
    case 'delete':
      return t('The machine and everything its guest has written to disks that live with it are lost. This cannot be undone.');
    case 'stop':
      return t('The guest is asked to shut down; when its grace period ends, it is turned off.');
    case 'restart':
      return t('The guest is asked to shut down and started again; changes of the configuration take effect.');
    case 'suspend':
      return t('The guest is saved with its memory, and takes no processor and no memory until it is resumed at the same instant.');
    default:
      return t('The guest keeps its state.');
  }
}

/** Asks before something is done, shows the same as commands, and lists what failed. */
export function AskDialog(props: { intent: Intent; onClose: () => void; onDone?: () => void }): React.JSX.Element {
  const { intent, onClose } = props;
  const [isBusy, setBusy] = useState(false);
  const [failed, setFailed] = useState<Failed[]>([]);
  const [done, setDone] = useState<readonly Machine[]>([]);
  const action = actionLabel(intent.action);
  const count = intent.machines.length;
  const [first] = intent.machines;
  const title = count === 1
    ? t('{action} {name}?', { action, name: first?.vm.metadata.name ?? '' })
    : plural(count, '{action} {count} machine?', '{action} {count} machines?', { action });

  async function confirm(): Promise<void> {
    setBusy(true);
    const wanted = failed.length > 0 ? { ...intent, machines: failed.map(({ machine }) => machine) } : intent;
    const rest = await carryOut(wanted, (machine) => setDone((before) => [...before, machine]));
    setBusy(false);
    setFailed(rest);
    if (rest.length === 0) {
      props.onDone?.();
      onClose();
    }
  }

  return (
    <Modal isOpen onClose={onClose} variant="small" aria-labelledby="ask-title" aria-describedby="ask-body">
      <ModalHeader title={title} titleIconVariant={intent.action === 'delete' ? 'warning' : undefined} labelId="ask-title" />
      <ModalBody id="ask-body" tabIndex={0}>
        <div className="av-stack">
          <p>{consequence(intent.action)}</p>
          {count > 1 && done.length === 0 && <Projects machines={intent.machines} />}
          {count > 1 && done.length > 0 && (
            <div role="status">
              <p>{t('{done} of {count} were asked:', { done: done.length, count })}</p>
              <Projects machines={done} />
            </div>
          )}
          {failed.map(({ machine, failure }) => (
            <Alert key={keyOf(machine.vm)} variant="danger" isInline title={keyOf(machine.vm)}>
              {failure.message}
            </Alert>
          ))}
          <ExpandableSection toggleText={t('Show command')}>
            <ClipboardCopy isReadOnly isCode isExpanded={count > 1} variant={count > 1 ? ClipboardCopyVariant.expansion : ClipboardCopyVariant.inline} hoverTip={t('Copy')} clickTip={t('Copied')}>
              {intent.machines.map(({ vm }) => commandOf(intent.action, vm.metadata.namespace ?? 'default', vm.metadata.name)).join('\n')}
            </ClipboardCopy>
          </ExpandableSection>
        </div>
      </ModalBody>
      <ModalFooter>
        <Button variant={intent.action === 'delete' ? 'danger' : 'primary'} isLoading={isBusy} isDisabled={isBusy} onClick={() => void confirm()}>
          {failed.length > 0 ? t('Try again') : action}
        </Button>
        <Button variant="link" onClick={onClose}>
          {failed.length > 0 ? t('Close') : t('Cancel')}
        </Button>
      </ModalFooter>
    </Modal>
  );
}

function Projects(props: { machines: readonly Machine[] }): React.JSX.Element {
  const groups = Map.groupBy(props.machines, (machine) => machine.vm.metadata.namespace ?? '');
  return (
    <ul>
      {[...groups].map(([project, machines]) => (
        <li key={project}>
          <strong>{project}</strong>: {machines.map(({ vm }) => vm.metadata.name).join(', ')}
        </li>
      ))}
    </ul>
  );
}
