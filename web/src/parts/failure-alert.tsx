import { Alert, Button, ClipboardCopy } from '@patternfly/react-core';

import type { Failure } from '../kubernetes/failure';
import { t } from '../words/words';

/** What failed, the server's words to copy, and what to do. */
export function FailureAlert(props: {
  title: string;
  failure: Failure;
  onRetry?: (() => void) | undefined;
}): React.JSX.Element {
  const { title, failure, onRetry } = props;
  return (
    <Alert
      variant={failure.code === 404 ? 'info' : 'danger'}
      isInline
      title={title}
      actionLinks={
        onRetry === undefined ? undefined : (
          <Button variant="link" isInline onClick={onRetry}>
            {t('Try again')}
          </Button>
        )
      }
    >
      <p>{advice(failure)}</p>
      <ClipboardCopy isReadOnly isBlock hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('What the server said')}>
        {failure.message}
      </ClipboardCopy>
      {failure.causes.length > 0 && (
        <ul className="av-causes">
          {failure.causes.map((cause) => (
            <li key={`${cause.field}|${cause.message}`}>
              <code>{cause.field}</code> {cause.message}
            </li>
          ))}
        </ul>
      )}
    </Alert>
  );
}

function advice(failure: Failure): string {
  if (failure.isOfAnotherSession) return t('Somebody has logged in anew in this browser, in another tab or window, and nothing was done. The bar at the top says who; try again if you mean it in their name:');
  if (failure.isForbidden) return t('You may not do this. Whoever administers this cluster can grant the right that the server names:');
  if (failure.code === 404) return t('This server does not have it:');
  if (failure.code === 409) return t('Somebody else was faster, or the state does not allow it:');
  if (failure.code === 422) return t('The server does not accept these values:');
  if (failure.code === 0) return t('The server did not answer. It may be restarting; machines go on running meanwhile.');
  return t('The server said:');
}
