import { Bullseye, Spinner } from '@patternfly/react-core';
import { useLocation, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useEffect } from 'react';

import { Shell } from './parts/shell';
import { destination } from './session/link';
import { resume, useSession } from './session/session';
import { t } from './words/words';

const LoginPage = lazy(async () => ({ default: (await import('./pages/login')).LoginPage }));
const FailureAlert = lazy(async () => ({ default: (await import('./parts/failure-alert')).FailureAlert }));

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

  if (session.state === 'in') return isAtLogin ? <Waiting /> : <Shell key={session.user.name} user={session.user} />;
  if (session.state === 'asking') return <Waiting />;
  return (
    <Suspense fallback={<Waiting />}>
      {session.state === 'out' ? (
        <LoginPage expired={session.expired} />
      ) : (
        <main className="av-login">
          <FailureAlert title={t('The console cannot reach its server')} failure={session.failure} onRetry={() => void resume()} />
        </main>
      )}
    </Suspense>
  );
}

function Waiting(): React.JSX.Element {
  return <Bullseye><Spinner aria-label={t('Loading')} /></Bullseye>;
}
