import { EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, PageSection } from '@patternfly/react-core';
import { SearchIcon } from '@patternfly/react-icons';
import { Link } from '@tanstack/react-router';

import { t } from '../words/words';

/** An address that shows nothing. */
export function NotFoundPage(): React.JSX.Element {
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
