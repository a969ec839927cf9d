import { Alert, Button, ClipboardCopy, ExpandableSection, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useMemo, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';
import { collectionPath, objectPath, RESOURCES } from '../kubernetes/resource';
import type { Edit, Wanted } from '../kubevirt/emulation-switch';
import { t } from '../words/words';
import { ConsequencesList } from './consequences-list';
import { FailureAlert } from './failure-alert';
import { GuardedButton } from './guarded-button';
import { notify } from './notices';

const MERGE = 'application/merge-patch+json';

/** Writes one edit; makes the object if it does not exist. Throws {@link Failure}. */
async function write(edit: Edit, isDry: boolean): Promise<void> {
  const query = isDry ? '?dryRun=All' : '';
  try {
    await send(`${objectPath(edit.type, edit.namespace, edit.name)}${query}`, { method: 'PATCH', body: edit.patch, contentType: MERGE });
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code !== 404) throw failure;
    await send(`${collectionPath(edit.type, edit.namespace)}${query}`, { method: 'POST', body: edit.after });
  }
}

/** Shows what a choice of the switch writes and what follows from it, before anything is written. */
export function SwitchDialog(props: { wanted: Wanted; before: Wanted; edits: readonly Edit[]; onClose: () => void }): React.JSX.Element {
  const { wanted, edits, onClose } = props;
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  // What is shown stays as it was when the dialog opened, though the cluster goes on.
  const [plan] = useState(edits);
  const [first] = plan;
  const right = useMemo(() => ({ verb: 'patch', type: first?.type ?? RESOURCES.configMaps }), [first]);
  const main = useMemo(() => plan.at(-1)?.after, [plan]);

  async function apply(): Promise<void> {
    setBusy(true);
    setFailure(undefined);
    try {
      for (const edit of plan) await write(edit, true);
      for (const edit of plan) await write(edit, false);
      notify({ tone: 'success', title: t('Emulation: {wanted}', { wanted }), detail: t('Machines that wait are looked at again.') });
      onClose();
    } catch (thrown) {
      setFailure(Failure.of(thrown));
      setBusy(false);
    }
  }

  return (
    <Modal isOpen onClose={onClose} variant="medium" aria-labelledby="switch-title">
      <ModalHeader title={t('Emulation {wanted}?', { wanted })} labelId="switch-title" />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          {failure !== undefined && <FailureAlert title={t('Nothing was changed')} failure={failure} />}
          {plan.length === 0 ? <Alert variant="info" isInline title={t('It is so already.')} /> : <h3>{t('What is written')}</h3>}
          {plan.map((edit) => (
            <div key={edit.field}>
              <p>{t('{kind} {name} in {namespace}', { kind: edit.type.kind, name: edit.name, namespace: edit.namespace })}</p>
              <pre className="av-mono">
                {`  ${edit.field}\n- ${edit.was ?? t('not set')}\n+ ${edit.becomes ?? t('not set')}`}
              </pre>
            </div>
          ))}
          {main !== undefined && (
            <>
              <h3>{t('What follows')}</h3>
              <ConsequencesList object={main} />
            </>
          )}
          <ExpandableSection toggleText={t('Show command')}>
            <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command')}>{`anyvirt emulation ${wanted}`}</ClipboardCopy>
          </ExpandableSection>
        </div>
      </ModalBody>
      <ModalFooter>
        <GuardedButton right={right} namespace={first?.namespace} isDisabled={plan.length === 0 || isBusy} isLoading={isBusy} onClick={() => void apply()}>{t('Apply')}</GuardedButton>
        <Button variant="link" onClick={onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
