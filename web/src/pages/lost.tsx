import { Button, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, PageSection } from '@patternfly/react-core';
import { SearchIcon } from '@patternfly/react-icons';
import { Link } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';

import { Failure } from '../kubernetes/failure';
import { t } from '../words/words';

const FailureAlert = lazy(async () => ({ default: (await import('../parts/failure-alert')).FailureAlert }));

/** An address that shows nothing. */
export function NotFound(): React.JSX.Element {
  return (
    <PageSection isFilled>
      <EmptyState titleText={t('There is nothing at this address')} headingLevel="h1" icon={SearchIcon}>
        <EmptyStateBody>{t('The link may be old, or of another release.')}</EmptyStateBody>
        <EmptyStateFooter>
          <EmptyStateActions>
            <Link to="/overview">{t('Go to the overview')}</Link>
          </EmptyStateActions>
        </EmptyStateFooter>
      </EmptyState>
    </PageSection>
  );
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
