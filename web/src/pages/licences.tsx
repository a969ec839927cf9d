import { Content, ExpandableSection, PageSection, Skeleton } from '@patternfly/react-core';
import { useCallback, useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';
import { FailureAlert } from '../parts/failure-alert';
import { useTitle } from '../parts/title';
import { t } from '../words/words';

/** Under what something that the console is made of is shipped; scripts/licences.ts writes them when it is built. */
export interface Licence {
  name: string;
  version: string;
  licence: string;
  /** Where its source is. */
  source: string;
  text: string;
}

/** What others have written of this console, and under which licences. */
export function LicencesPage(): React.JSX.Element {
  useTitle(t('Licences'));
  const [licences, setLicences] = useState<readonly Licence[]>();
  const [failure, setFailure] = useState<Failure>();
  const load = useCallback(async () => {
    setFailure(undefined);
    try {
      setLicences((await send<Licence[]>('/console/assets/licences.json')).body);
    } catch (thrown) {
      setFailure(Failure.of(thrown));
    }
  }, []);
  useEffect(() => void load(), [load]);
  return (
    <PageSection isFilled aria-label={t('Licences')}>
      <div className="av-stack">
        <Content component="h1">{t('Licences')}</Content>
        <p>{t('anyvirt itself is under Apache-2.0. Its console is made with what is listed here, each part as its authors publish it; its source is at the address beside it.')}</p>
        {failure !== undefined && <FailureAlert title={t('The licences cannot be shown')} failure={failure} onRetry={() => void load()} />}
        {licences === undefined && failure === undefined && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
        {licences?.map(({ name, version, licence, source, text }) => (
          <div key={`${name} ${version}`} data-licence={name}>
            <strong>{name}</strong> {version} · {licence} <span className="av-subtle av-small av-wrap">{source}</span>
            <ExpandableSection toggleText={t('The words of the licence')} toggleAriaLabel={t('The words of the licence of {name}', { name })}>
              <pre className="av-small av-wrap">{text === '' ? t('Its package holds none.') : text}</pre>
            </ExpandableSection>
          </div>
        ))}
      </div>
    </PageSection>
  );
}
