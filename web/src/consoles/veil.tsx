import { Button } from '@patternfly/react-core';

import { t } from '../words/words';

/** What stands over a console that shows nothing: why, and a way to try again. */
export function Veil(props: { text: string; onRetry?: (() => void) | undefined; children?: React.ReactNode }): React.JSX.Element {
  return (
    <div className="av-veil" role="status">
      <p className="av-wrap">{props.text}</p>
      {props.onRetry !== undefined && <Button variant="primary" onClick={props.onRetry}>{t('Connect again')}</Button>}
      {props.children}
    </div>
  );
}
