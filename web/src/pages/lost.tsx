import { Button, PageSection } from '@patternfly/react-core';
import { lazy, Suspense } from 'react';

import { Failure } from '../kubernetes/failure';
import { t } from '../words/words';

const NotFoundPage = lazy(async () => ({ default: (await import('./not-found')).NotFoundPage }));
const FailureAlert = lazy(async () => ({ default: (await import('../parts/failure-alert')).FailureAlert }));

/** An address that shows nothing. */
export function NotFound(): React.JSX.Element {
  return <Suspense fallback={null}><NotFoundPage /></Suspense>;
}

/** A page that broke: its error, and a way to try again. */
export function PageFailure(props: { error: unknown; reset: () => void }): React.JSX.Element {
  return (
    <PageSection isFilled>
      <Suspense fallback={null}>
        <FailureAlert title={t('This page could not be shown')} failure={Failure.of(props.error)} onRetry={props.reset} />
      </Suspense>
      <Button variant="link" onClick={() => window.location.reload()}>
        {t('Load the console again')}
      </Button>
    </PageSection>
  );
}
