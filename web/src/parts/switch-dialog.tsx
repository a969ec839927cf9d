import { Alert, Button, ClipboardCopy, ExpandableSection, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useMemo, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { writePatch } from '../kubernetes/patch';
import { objectPath, RESOURCES } from '../kubernetes/resource';
import { brokenOff, commandsOf, type Edit, objectOf, questionOf, type Wanted } from '../kubevirt/emulation-switch';
import { t } from '../words/words';
import { ConsequencesList } from './consequences-list';
import { FailureAlert } from './failure-alert';
import { GuardedButton } from './guarded-button';
import { notify } from './notices';

/** Shows what a choice of the switch writes and what follows from it, before anything is written. */
export function SwitchDialog(props: { wanted: Wanted; before: Wanted; edits: readonly Edit[]; onClose: () => void }): React.JSX.Element {
  const { wanted, edits, onClose } = props;
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ title: string; why: Failure }>();
  // What is shown stays as it was when the dialog opened, though the cluster goes on.
  const [plan] = useState(edits);
  // What an earlier try has written is not written again, and not forgotten if this one fails too.
  const done = useRef(0);
  const [first] = plan;
  const right = useMemo(() => ({ verb: 'patch', type: first?.type ?? RESOURCES.configMaps }), [first]);
  const question = useMemo(() => questionOf(plan), [plan]);
  const commands = commandsOf(wanted, plan);

  async function apply(): Promise<void> {
    setBusy(true);
    setFailure(undefined);
    const write = ({ type, namespace, name, patch }: Edit, isDry: boolean): Promise<unknown> => writePatch(objectPath(type, namespace, name), patch, isDry);
    try {
      for (const edit of plan.slice(done.current)) await write(edit, true);
      for (const edit of plan.slice(done.current)) {
        await write(edit, false);
        done.current += 1;
      }
      notify({ tone: 'success', title: t('Emulation: {wanted}', { wanted }), detail: t('Machines that wait are looked at again.') });
      onClose();
    } catch (thrown) {
      setFailure({ title: brokenOff(plan, done.current), why: Failure.of(thrown) });
      setBusy(false);
    }
  }

  return (
    <Modal isOpen onClose={onClose} variant="medium" aria-labelledby="switch-title">
      <ModalHeader title={t('Emulation {wanted}?', { wanted })} labelId="switch-title" />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          {failure !== undefined && <FailureAlert title={failure.title} failure={failure.why} />}
          {plan.length === 0 ? <Alert variant="info" isInline title={t('It is so already.')} /> : <h3>{t('What is written')}</h3>}
          {plan.map((edit) => (
            <div key={edit.type.plural}>
              <p>{objectOf(edit)}</p>
              <pre className="av-mono av-wrap">
                {edit.lines.map(({ field, was, becomes }) => `  ${field}\n- ${was ?? t('not set')}\n+ ${becomes ?? t('not set')}`).join('\n')}
              </pre>
            </div>
          ))}
          {question !== undefined && (
            <>
              <h3>{t('What follows')}</h3>
              {question.standsFor !== undefined && <p className="av-subtle">{t('From both together, which come to the policy {policy}; the server was asked as if the KubeVirt object said so.', { policy: question.standsFor })}</p>}
              <ConsequencesList object={question.object} />
            </>
          )}
          {commands.length > 0 && (
            <ExpandableSection toggleText={t('Show command')}>
              {commands.map((command) => (
                <ClipboardCopy key={command} isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command')}>{command}</ClipboardCopy>
              ))}
            </ExpandableSection>
          )}
        </div>
      </ModalBody>
      <ModalFooter>
        <GuardedButton right={right} namespace={first?.namespace} isDisabled={plan.length === 0 || isBusy} isLoading={isBusy} onClick={() => void apply()}>{t('Apply')}</GuardedButton>
        <Button variant="link" onClick={onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
