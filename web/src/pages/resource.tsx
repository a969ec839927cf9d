import { Breadcrumb, BreadcrumbItem, Card, CardBody, CardTitle, Content, DescriptionList, EmptyState, EmptyStateBody, Label, PageSection, Skeleton, Tab, Tabs, TabTitleText } from '@patternfly/react-core';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useMemo } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { apiVersionOf, RESOURCES, type ResourceType } from '../kubernetes/resource';
import { useObject, useWatched } from '../kubernetes/store';
import type { ConfigMap } from '../kubevirt/configuration';
import { type Event, latestFirst } from '../kubevirt/event';
import { Fact } from '../parts/fact';
import { Freshness, LiveDot } from '../parts/freshness';
import { OwnEvents } from '../parts/own-events';
import { useTitle } from '../parts/title';
import { moment } from '../words/measures';
import { t } from '../words/words';
import type { ResourceTab } from './tabs';

const ResourceEditor = lazy(async () => ({ default: (await import('../editor/resource-editor')).ResourceEditor }));

function typeOfPlural(plural: string): ResourceType | undefined {
  return Object.values(RESOURCES).find((type) => type.plural === plural);
}

/** Any object of a known kind: its details, its YAML, its events. */
export function ResourcePage(): React.JSX.Element {
  const { namespace, plural, name } = useParams({ from: '/k8s/ns/$namespace/$plural/$name' });
  const { tab = 'details' } = useSearch({ from: '/k8s/ns/$namespace/$plural/$name' });
  const type = typeOfPlural(plural);
  if (type === undefined) return <Unknown plural={plural} />;
  return <Known key={`${plural}/${namespace}/${name}`} type={type} namespace={namespace} name={name} tab={tab} />;
}

/** A new object of a known kind. */
export function NewResourcePage(): React.JSX.Element {
  const { namespace, plural } = useParams({ from: '/k8s/ns/$namespace/$plural/~new' });
  const navigate = useNavigate();
  const type = typeOfPlural(plural);
  useTitle(t('Create'));
  if (type === undefined) return <Unknown plural={plural} />;
  const template = `apiVersion: ${apiVersionOf(type)}\nkind: ${type.kind}\nmetadata:\n  name: example\n  namespace: ${namespace}\n${type.kind === 'ConfigMap' ? 'data:\n  key: "value"\n' : ''}`;
  return (
    <PageSection isFilled aria-label={t('Create')}>
      <div className="av-stack">
        <Content component="h1">{t('Create {kind}', { kind: type.kind })}</Content>
        <Suspense fallback={<Skeleton height="20rem" screenreaderText={t('Loading')} />}>
          <ResourceEditor
            type={type}
            namespace={namespace}
            template={template}
            onCreated={({ metadata }) => void navigate({ to: '/k8s/ns/$namespace/$plural/$name', params: { namespace: metadata.namespace ?? namespace, plural, name: metadata.name } })}
          />
        </Suspense>
      </div>
    </PageSection>
  );
}

function Unknown(props: { plural: string }): React.JSX.Element {
  return (
    <PageSection isFilled>
      <EmptyState titleText={t('The console does not show {plural}', { plural: props.plural })} headingLevel="h1">
        <EmptyStateBody>{t('kubectl does:')} <code>kubectl get {props.plural}</code></EmptyStateBody>
      </EmptyState>
    </PageSection>
  );
}

function Known(props: { type: ResourceType; namespace: string; name: string; tab: ResourceTab }): React.JSX.Element {
  const { type, namespace, name, tab } = props;
  useTitle(`${name} · ${type.kind}`);
  const navigate = useNavigate();
  const { object, watched } = useObject<KubernetesObject>(type, namespace, name);
  const open = (next: ResourceTab): void => void navigate({ to: '/k8s/ns/$namespace/$plural/$name', params: { namespace, plural: type.plural, name }, search: { tab: next } });
  const isList = type.plural === 'configmaps';
  return (
    <PageSection isFilled aria-label={name}>
      <div className="av-stack">
        <Breadcrumb aria-label={t('Where you are')}>
          {isList && <BreadcrumbItem render={({ className }) => <Link className={className} to="/k8s/ns/$namespace/configmaps" params={{ namespace }}>{t('Config Maps')}</Link>} />}
          <BreadcrumbItem>{namespace}</BreadcrumbItem>
          <BreadcrumbItem isActive>{name}</BreadcrumbItem>
        </Breadcrumb>
        <div className="av-row">
          <Label color="blue">{type.kind}</Label>
          <Content component="h1">{name}</Content>
          <LiveDot watched={watched} />
        </div>
        <Freshness what={name} watched={watched} />
        {object === undefined && watched.phase === 'live' ? (
          <EmptyState titleText={t('There is no {kind} {name} here', { kind: type.kind, name })} headingLevel="h2">
            <EmptyStateBody>{t('It may have been deleted.')}</EmptyStateBody>
          </EmptyState>
        ) : (
          <Tabs activeKey={tab} onSelect={(_event, key) => open(key as ResourceTab)} aria-label={t('Parts of the object')} unmountOnExit mountOnEnter>
            <Tab eventKey="details" title={<TabTitleText>{t('Details')}</TabTitleText>}><div className="av-gap">{object === undefined ? watched.phase === 'loading' && <Skeleton height="20rem" screenreaderText={t('Loading')} /> : <Details object={object} />}</div></Tab>
            <Tab eventKey="yaml" title={<TabTitleText>YAML</TabTitleText>}>
              <div className="av-gap">
                <Suspense fallback={<Skeleton height="20rem" screenreaderText={t('Loading')} />}>
                  <ResourceEditor type={type} namespace={namespace} name={name} />
                </Suspense>
              </div>
            </Tab>
            <Tab eventKey="events" title={<TabTitleText>{t('Events')}</TabTitleText>}><div className="av-gap"><EventsTab kind={type.kind} namespace={namespace} name={name} /></div></Tab>
          </Tabs>
        )}
      </div>
    </PageSection>
  );
}

function Details(props: { object: KubernetesObject }): React.JSX.Element {
  const { metadata } = props.object;
  const { data } = props.object as ConfigMap;
  return (
    <div className="av-two">
      <Card component="section">
        <CardTitle component="h2">{t('Object')}</CardTitle>
        <CardBody>
          <DescriptionList isHorizontal isCompact>
            <Fact term={t('Name')}>{metadata.name}</Fact>
            <Fact term={t('Namespace')}>{metadata.namespace ?? '–'}</Fact>
            <Fact term={t('Created')}>{moment(metadata.creationTimestamp)}</Fact>
            <Fact term={t('Labels')}><Pairs of={metadata.labels} /></Fact>
            <Fact term={t('Annotations')}><Pairs of={metadata.annotations} /></Fact>
          </DescriptionList>
        </CardBody>
      </Card>
      {props.object.kind === 'ConfigMap' && (
        <Card component="section">
          <CardTitle component="h2">{t('Data')}</CardTitle>
          <CardBody>
            {Object.keys(data ?? {}).length === 0 && <p className="av-subtle">{t('No keys.')}</p>}
            <DescriptionList isCompact>
              {Object.entries(data ?? {}).map(([key, value]) => <Fact key={key} term={key}><pre className="av-mono av-wrap">{value}</pre></Fact>)}
            </DescriptionList>
          </CardBody>
        </Card>
      )}
    </div>
  );
}

function Pairs(props: { of: Record<string, string> | undefined }): React.JSX.Element {
  const pairs = Object.entries(props.of ?? {});
  if (pairs.length === 0) return <>–</>;
  return <ul>{pairs.map(([key, value]) => <li key={key} className="av-mono av-small">{`${key}: ${value}`}</li>)}</ul>;
}

function EventsTab(props: { kind: string; namespace: string; name: string }): React.JSX.Element {
  const watched = useWatched<Event>(RESOURCES.events, props.namespace);
  const events = useMemo(
    () => latestFirst([...watched.objects.values()].filter(({ involvedObject: about }) => about.kind === props.kind && about.name === props.name)),
    [watched.objects, props.kind, props.name],
  );
  return <OwnEvents watched={watched} events={events} nothing={t('Nothing has happened to it in the last hour.')} />;
}
