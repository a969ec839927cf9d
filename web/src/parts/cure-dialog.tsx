import { Button, ClipboardCopy, ExpandableSection, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import type { KubernetesObject } from '../kubernetes/object';
import { writePatch } from '../kubernetes/patch';
import type { Cure } from '../kubevirt/explanation';
import { t } from '../words/words';
import { ConsequencesList } from './consequences-list';
import { leftBy } from './cure-outcome';
import { FailureAlert } from './failure-alert';
import { notify } from './notices';

/** Shows what a cure changes and what follows from it, before it is done. */
export function CureDialog(props: { cure: Cure; action: NonNullable<Cure['action']>; onClose: () => void }): React.JSX.Element {
  const { cure, action, onClose } = props;
  const [after, setAfter] = useState<KubernetesObject>();
  const [failure, setFailure] = useState<{ why: Failure; isDry: boolean }>();
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    setAfter(undefined);
    setFailure(undefined);
    writePatch(action.path, action.body, true, stop.signal).then(
      ({ body }) => {
        if (!stop.signal.aborted) setAfter(body);
      },
      (thrown: unknown) => {
        if (!stop.signal.aborted) setFailure({ why: Failure.of(thrown), isDry: true });
      },
    );
    return () => stop.abort();
  }, [action]);
  const left = failure === undefined ? undefined : leftBy(failure.why, failure.isDry);

  async function apply(): Promise<void> {
    setBusy(true);
    setFailure(undefined);
    try {
      await writePatch(action.path, action.body, false);
      notify({ tone: 'success', title: t('Done: {title}', { title: cure.title }) });
      onClose();
    } catch (thrown) {
      setFailure({ why: Failure.of(thrown), isDry: false });
      setBusy(false);
    }
  }

  return (
    <Modal isOpen onClose={onClose} variant="medium" aria-labelledby="cure-title">
      <ModalHeader title={t('{title}?', { title: cure.title })} labelId="cure-title" description={cure.effect} />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          {failure !== undefined && left !== undefined && <FailureAlert title={left.title} failure={failure.why} />}
          {after !== undefined && (
            <>
              <h3>{t('What is written')}</h3>
              <p>{t('{kind} {name} in {namespace}', { kind: after.kind ?? '', name: after.metadata.name, namespace: after.metadata.namespace ?? '–' })}</p>
              <pre className="av-mono">{JSON.stringify(action.body, undefined, 2)}</pre>
              <h3>{t('What follows')}</h3>
              <ConsequencesList object={after} />
            </>
          )}
          {cure.command !== undefined && (
            <ExpandableSection toggleText={t('Show command')}>
              <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command')}>{cure.command}</ClipboardCopy>
            </ExpandableSection>
          )}
        </div>
      </ModalBody>
      <ModalFooter>
        <Button isDisabled={after === undefined || isBusy || left?.isKnown === false} isLoading={isBusy} onClick={() => void apply()}>{t('Apply')}</Button>
        <Button variant="link" onClick={onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
