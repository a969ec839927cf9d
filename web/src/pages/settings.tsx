import { Alert, Card, CardBody, CardTitle, Content, DescriptionList, FormGroup, FormSelect, FormSelectOption, PageSection, Radio, Switch } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useObject, useWatched } from '../kubernetes/store';
import { type ConfigMap, type KubeVirt, kubeVirtOf, SET_BY, SWITCH_MAP } from '../kubevirt/configuration';
import { current, edits, meaningOf, type Wanted, WANTED } from '../kubevirt/emulation-switch';
import type { Node } from '../kubevirt/node';
import { askAlways, asksAlways } from '../parts/consent';
import { Fact } from '../parts/fact';
import { Freshness } from '../parts/freshness';
import { SwitchDialog } from '../parts/switch-dialog';
import { thumbnails, useThumbnails } from '../parts/thumbnail';
import { useTitle } from '../parts/title';
import { SupportCard } from '../support/support-card';
import { chosenLanguage, keepLanguage, type Language, LANGUAGES } from '../words/languages';
import { t } from '../words/words';
import { SessionsCard } from './settings-sessions';

/** The cluster's settings and the browser's. */
export function SettingsPage(): React.JSX.Element {
  useTitle(t('Settings'));
  return (
    <PageSection isFilled aria-label={t('Settings')}>
      <div className="av-stack">
        <Content component="h1">{t('Settings')}</Content>
        <AccelerationSettings />
        <div className="av-two">
          <EffectiveSettings />
          <BrowserSettings />
        </div>
        <SessionsCard />
        <SupportCard />
        <AboutCard />
      </div>
    </PageSection>
  );
}

function wantedLabel(wanted: Wanted): string {
  return { on: t('On: emulation is permitted'), off: t('Off: hardware virtualization only'), auto: t('Auto: by what the nodes can') }[wanted];
}

function AccelerationSettings(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const { object: map, watched } = useObject<ConfigMap>(RESOURCES.configMaps, SWITCH_MAP.namespace, SWITCH_MAP.name);
  const [wanted, setWanted] = useState<Wanted>();
  const kubeVirt = kubeVirtOf(kubeVirts.objects);
  const seen = useMemo(() => ({ map, kubeVirt, nodes: [...nodes.objects.values()] }), [map, kubeVirt, nodes.objects]);
  const emulation = kubeVirt?.status?.emulation;
  const now = current(seen);
  const plan = useMemo(() => (wanted === undefined ? [] : edits(wanted, seen, new Date().toISOString())), [wanted, seen]);
  const isKnown = kubeVirts.phase === 'live' && watched.phase === 'live' && nodes.phase === 'live';
  return (
    <Card component="section" aria-labelledby="acceleration-title">
      <CardTitle component="h2" id="acceleration-title">{t('Emulation of machines without hardware virtualization')}</CardTitle>
      <CardBody className="av-stack">
        <Freshness what={t('The setting')} watched={watched} />
        <Freshness what={t('The setting')} watched={kubeVirts} />
        {emulation !== undefined && (
          <p>{t('In force: policy {policy}, decided by {place}.', { policy: emulation.policy, place: emulation.decidedBy })}</p>
        )}
        {now === 'auto' && <p className="av-subtle">{map?.metadata.annotations?.[SET_BY]}</p>}
        {(emulation?.problems ?? []).map((problem) => <Alert key={problem.message} variant="warning" isInline title={problem.message} />)}
        <div role="radiogroup" aria-labelledby="acceleration-title" className="av-stack">
          {WANTED.map((one) => (
            <Radio
              key={one}
              id={`emulation-${one}`}
              name="emulation"
              label={wantedLabel(one)}
              description={meaningOf(one, seen.nodes)}
              isChecked={now === one}
              isDisabled={!isKnown}
              onChange={() => setWanted(one)}
            />
          ))}
        </div>
        <p className="av-subtle av-small">
          {t('A single machine, a namespace or a node can say otherwise; see the tab Configuration of a machine, and the label anyvirt.io/emulation-policy.')}{' '}
          <Link to="/k8s/ns/$namespace/$plural/$name" params={{ ...SWITCH_MAP, plural: 'configmaps' }} search={{ tab: 'yaml' }}>{t('The same as YAML')}</Link>
        </p>
        {wanted !== undefined && <SwitchDialog wanted={wanted} edits={plan} before={now} onClose={() => setWanted(undefined)} />}
      </CardBody>
    </Card>
  );
}

function EffectiveSettings(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const kubeVirt = kubeVirtOf(kubeVirts.objects);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Configuration in force')}</CardTitle>
      <CardBody className="av-stack">
        <DescriptionList isCompact>
          {(kubeVirt?.status?.effectiveConfiguration ?? []).map(({ field, value, from }) => (
            <Fact key={field} term={field.replace(/^spec\.configuration\./, '')}>
              <span className="av-mono">{value === '' ? '–' : value}</span> <span className="av-subtle av-small">{t('from {place}', { place: from })}</span>
            </Fact>
          ))}
        </DescriptionList>
        {kubeVirt !== undefined && (
          <Link to="/k8s/ns/$namespace/$plural/$name" params={{ namespace: kubeVirt.metadata.namespace ?? 'kubevirt', plural: 'kubevirts', name: kubeVirt.metadata.name }} search={{ tab: 'yaml' }}>
            {t('Edit the KubeVirt object')}
          </Link>
        )}
      </CardBody>
    </Card>
  );
}

function BrowserSettings(): React.JSX.Element {
  const isOn = useThumbnails();
  const [isAlways, setAlways] = useState(asksAlways);
  const [language, setLanguage] = useState(chosenLanguage);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('This browser')}</CardTitle>
      <CardBody className="av-stack">
        <Switch id="thumbnails" label={t('Pictures of guests’ screens in lists')} isChecked={isOn} onChange={(_event, on) => thumbnails.switchTo(on)} />
        <p className="av-subtle av-small">{t('A screen can show secrets to whoever looks over your shoulder.')}</p>
        <Switch id="consent" label={t('Ask before every action, also before what loses nothing')} isChecked={isAlways} onChange={(_event, always) => { askAlways(always); setAlways(always); }} />
        <FormGroup label={t('Language')} fieldId="language">
          <FormSelect
            id="language"
            value={language}
            onChange={(_event, value) => {
              keepLanguage(value as Language);
              setLanguage(value as Language);
              window.location.reload();
            }}
          >
            {LANGUAGES.map((one) => <FormSelectOption key={one} value={one} label={one === 'en' ? 'English' : t('Pseudo-language, for translators')} />)}
          </FormSelect>
        </FormGroup>
        <p className="av-subtle av-small">{t('Theme and keyboard shortcuts are in the bar at the top.')}</p>
      </CardBody>
    </Card>
  );
}

/** As the licence is called everywhere (SPDX). */
const OWN_LICENCE = 'Apache-2.0';

function AboutCard(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const status = kubeVirtOf(kubeVirts.objects)?.status;
  return (
    <Card component="section">
      <CardTitle component="h2">{t('About')}</CardTitle>
      <CardBody className="av-stack">
        <DescriptionList isHorizontal isCompact>
          <Fact term="anyvirt">{status?.operatorVersion ?? '–'}</Fact>
          <Fact term={t('Licence')}>{OWN_LICENCE}</Fact>
        </DescriptionList>
        <Link to="/licences">{t('Licences of what the console is made with')}</Link>
      </CardBody>
    </Card>
  );
}
