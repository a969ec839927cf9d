import { Button, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useState } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { t } from '../words/words';
import { DiffPane } from './diff-pane';
import { onto } from './rebase';
import { toYaml } from './yaml-text';

/** Shows a change beside what somebody else has made meanwhile; each difference can be taken from theirs. */
export function ConflictDialog(props: {
  theirs: KubernetesObject;
  mine: KubernetesObject;
  onClose: () => void;
  onTheirs: () => void;
  onMerged: (yaml: string) => void;
}): React.JSX.Element {
  const { theirs, mine } = props;
  const [left] = useState(() => toYaml(theirs));
  const [right] = useState(() => toYaml(onto(theirs, mine)));
  const [merged, setMerged] = useState(right);
  return (
    <Modal isOpen onClose={props.onClose} variant="large" aria-labelledby="conflict-title">
      <ModalHeader
        title={t('Somebody has changed {name} meanwhile', { name: theirs.metadata.name })}
        titleIconVariant="warning"
        labelId="conflict-title"
        description={t('Arrows take single differences over from theirs; the right side can be edited.')}
      />
      <ModalBody tabIndex={0}>
        <DiffPane left={left} right={right} leftLabel={t('Theirs, on the server now')} rightLabel={t('Mine')} onChange={setMerged} />
      </ModalBody>
      <ModalFooter>
        <Button onClick={() => props.onMerged(merged)}>{t('Go on with the right side')}</Button>
        <Button variant="secondary" onClick={props.onTheirs}>{t('Take theirs')}</Button>
        <Button variant="link" onClick={props.onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}
