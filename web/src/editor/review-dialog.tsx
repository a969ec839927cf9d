import { Alert, Button, ClipboardCopy, ClipboardCopyVariant, ExpandableSection, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useEffect } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { ConsequencesList } from '../parts/consequences-list';
import { confirms, isConfirmingKey } from '../parts/keys';
import { t } from '../words/words';
import { DiffPane } from './diff-pane';
import { toYaml } from './yaml-text';

/** What a review is about: the object as it is, and as the server would make it. */
export interface Review {
  before: KubernetesObject | undefined;
  wanted: KubernetesObject;
  after: KubernetesObject;
  warnings: string[];
  /** The command that does the same, if it is short enough to be one. */
  command?: string;
}

/** Kinds whose changes the server can tell consequences of. */
const CONSEQUENTIAL: ReadonlySet<string> = new Set(['ConfigMap', 'KubeVirt', 'HyperConverged', 'VirtualMachine', 'Namespace', 'Node']);

/** Shows what the server would make of a change, and what follows from it, before it is made. `Ctrl+Enter` applies. */
export function ReviewDialog(props: { review: Review; isBusy: boolean; onApply: () => void; onClose: () => void }): React.JSX.Element {
  const { review, isBusy, onApply, onClose } = props;
  const { before, after, warnings } = review;
  useEffect(() => {
    function pressed(event: KeyboardEvent): void {
      if (!isConfirmingKey(event)) return;
      event.preventDefault();
      if (confirms(event) && !isBusy) onApply();
    }
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, [onApply, isBusy]);
  return (
    <Modal isOpen onClose={onClose} variant="large" aria-labelledby="review-title">
      <ModalHeader
        title={before === undefined ? t('Create {name}?', { name: after.metadata.name }) : t('Change {name}?', { name: after.metadata.name })}
        labelId="review-title"
        description={t('The server has checked this change without making it.')}
      />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          {warnings.map((warning) => <Alert key={warning} variant="warning" isInline title={warning} />)}
          <DiffPane
            left={before === undefined ? '' : shown(before)}
            right={shown(after)}
            leftLabel={before === undefined ? t('Nothing yet') : t('As it is')}
            rightLabel={t('As it would be')}
          />
          {CONSEQUENTIAL.has(after.kind ?? '') && (
            <>
              <h3>{t('What follows')}</h3>
              <ConsequencesList object={after} />
            </>
          )}
          {review.command !== undefined && (
            <ExpandableSection toggleText={t('Show command')}>
              <ClipboardCopy isReadOnly isCode isExpanded variant={ClipboardCopyVariant.expansion} hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command that does the same')}>{review.command}</ClipboardCopy>
            </ExpandableSection>
          )}
        </div>
      </ModalBody>
      <ModalFooter>
        <Button isDisabled={isBusy} isLoading={isBusy} onClick={onApply}>{before === undefined ? t('Create') : t('Apply')}</Button>
        <Button variant="link" onClick={onClose}>{t('Go on editing')}</Button>
      </ModalFooter>
    </Modal>
  );
}

/** Without what a change of the version alone makes different. */
function shown(object: KubernetesObject): string {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return toYaml({ ...object, metadata });
}
