import { Bullseye, Spinner } from '@patternfly/react-core';
import { useLocation, useNavigate } from '@tanstack/react-router';
import { useEffect } from 'react';

import { FailureAlert } from './parts/failure-alert';
import { Shell } from './parts/shell';
import { LoginPage } from './pages/login';
import { destination } from './session/link';
import { resume, useSession } from './session/session';
import { t } from './words/words';

/** What stands above every page: nobody sees one without being logged in. */
export function Root(): React.JSX.Element {
  const session = useSession();
  const location = useLocation();
  const navigate = useNavigate();
  const isAtLogin = location.pathname === '/login' || location.pathname === '/console/login';
  useEffect(() => {
    if (session.state !== 'in' || !isAtLogin) return;
    void navigate({ href: destination(new URLSearchParams(location.searchStr).get('from') ?? undefined), replace: true });
  }, [session.state, isAtLogin, location.searchStr, navigate]);

  if (session.state === 'asking') {
    return <Bullseye><Spinner aria-label={t('Loading')} /></Bullseye>;
  }
  if (session.state === 'unreachable') {
    return (
      <main className="av-login">
        <FailureAlert title={t('The console cannot reach its server')} failure={session.failure} onRetry={() => void resume()} />
      </main>
    );
  }
  if (session.state === 'out') return <LoginPage expired={session.expired} />;
  return isAtLogin ? <Bullseye><Spinner aria-label={t('Loading')} /></Bullseye> : <Shell user={session.user} />;
}
