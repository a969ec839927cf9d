import { Alert, Label } from '@patternfly/react-core';
import { CheckCircleIcon, SyncAltIcon } from '@patternfly/react-icons';

import type { KubernetesObject } from '../kubernetes/object';
import type { Watched } from '../kubernetes/watch-state';
import { duration } from '../words/measures';
import { t } from '../words/words';
import { FailureAlert } from './failure-alert';
import { useNow } from './now';

/** A dot that says whether what is shown is live. */
export function LiveDot(props: { watched: Watched<KubernetesObject> }): React.JSX.Element {
  return props.watched.phase === 'live' ? (
    <Label isCompact variant="outline" status="success" icon={<CheckCircleIcon />}>
      {t('Live')}
    </Label>
  ) : (
    <Label isCompact variant="outline" status="warning" icon={<SyncAltIcon />}>
      {t('Connecting')}
    </Label>
  );
}

/** What stands above content that is old, or that may not be read. Nothing while all is well. */
export function Freshness(props: { what: string; watched: Watched<KubernetesObject> }): React.JSX.Element | null {
  const { what, watched } = props;
  const now = useNow();
  if (watched.phase === 'refused' && watched.failure !== undefined) {
    return <FailureAlert title={t('{what} cannot be shown', { what })} failure={watched.failure} />;
  }
  if (watched.phase === 'loading' && watched.failure !== undefined) {
    return <FailureAlert title={t('{what} could not be loaded; trying again', { what })} failure={watched.failure} />;
  }
  if (watched.phase !== 'stale') return null;
  const seconds = Math.round((now - watched.heardAt) / 1000);
  const title = t('Reconnecting; what you see is from {age} ago', { age: duration(seconds) });
  return (
    <Alert variant="warning" isInline isPlain title={title}>
      {watched.failure?.message}
    </Alert>
  );
}
