import {
  Button, DropdownItem, Masthead, MastheadBrand, MastheadContent, MastheadMain, MastheadToggle,
  Nav, NavExpandable, NavItem, NavList, Page, PageSidebar, PageSidebarBody, PageToggleButton, SkipToContent, Toolbar, ToolbarContent, ToolbarGroup, ToolbarItem,
} from '@patternfly/react-core';
import { BarsIcon, QuestionCircleIcon } from '@patternfly/react-icons';
import { Link, Outlet, useLocation, useNavigate } from '@tanstack/react-router';
import { useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { pillOf } from '../kubevirt/acceleration';
import { type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import type { Node } from '../kubevirt/node';
import { mapsOf, useChosenProject } from '../session/project';
import { logOut, type User } from '../session/session';
import { chooseTheme, chosenTheme, type Theme, THEMES } from '../theme/theme';
import { t } from '../words/words';
import { Activity } from './activity';
import { Pill } from './badge';
import { MastheadMenu } from './masthead-menu';
import { Notices } from './notices';
import { ProjectSwitch } from './project-switch';
import { Shortcuts } from './shortcuts';

const CONTENT = 'content';

/** What stands around every page: masthead, navigation, notices. */
export function Shell(props: { user: User }): React.JSX.Element {
  const [isHelpOpen, setHelpOpen] = useState(false);
  return (
    <>
      <Page
        masthead={<Top user={props.user} onHelp={() => setHelpOpen(true)} />}
        sidebar={<Side />}
        isManagedSidebar
        mainContainerId={CONTENT}
        skipToContent={<SkipToContent href={`#${CONTENT}`}>{t('Skip to content')}</SkipToContent>}
      >
        <Outlet />
      </Page>
      <Notices />
      <Shortcuts isOpen={isHelpOpen} onOpen={setHelpOpen} />
    </>
  );
}

function Top(props: { user: User; onHelp: () => void }): React.JSX.Element {
  return (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton variant="plain" aria-label={t('Navigation')}>
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <Link to="/overview" className="av-brand">
            <img src="/console/assets/mark.svg" alt="" /> anyvirt
          </Link>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Toolbar isFullHeight isStatic>
          <ToolbarContent>
            <ToolbarItem alignSelf="center">
              <ProjectSwitch />
            </ToolbarItem>
            <ToolbarItem alignSelf="center">
              <ClusterPill />
            </ToolbarItem>
            <ToolbarGroup align={{ default: 'alignEnd' }}>
              <ToolbarItem>
                <Activity />
              </ToolbarItem>
              <ToolbarItem>
                <Button variant="plain" icon={<QuestionCircleIcon />} aria-label={t('Keyboard shortcuts')} onClick={props.onHelp} />
              </ToolbarItem>
              <ToolbarItem>
                <ThemeMenu />
              </ToolbarItem>
              <ToolbarItem>
                <UserMenu user={props.user} />
              </ToolbarItem>
            </ToolbarGroup>
          </ToolbarContent>
        </Toolbar>
      </MastheadContent>
    </Masthead>
  );
}

function ClusterPill(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const navigate = useNavigate();
  const badge = useMemo(() => pillOf(kubeVirtOf(kubeVirts.objects), [...nodes.objects.values()]), [kubeVirts.objects, nodes.objects]);
  return <Pill badge={badge} onSettings={() => void navigate({ to: '/settings' })} />;
}

function themeLabel(theme: Theme): string {
  return { system: t('As the system'), light: t('Light'), dark: t('Dark'), 'high-contrast': t('High contrast') }[theme];
}

function ThemeMenu(): React.JSX.Element {
  const [theme, setTheme] = useState(chosenTheme);
  return (
    <MastheadMenu label={t('Theme')}>
      {THEMES.map((one) => (
        <DropdownItem
          key={one}
          isSelected={one === theme}
          onClick={() => {
            chooseTheme(one);
            setTheme(one);
          }}
        >
          {themeLabel(one)}
        </DropdownItem>
      ))}
    </MastheadMenu>
  );
}

function UserMenu(props: { user: User }): React.JSX.Element {
  return (
    <MastheadMenu label={props.user.name}>
      <DropdownItem description={props.user.groups.join(', ')} onClick={() => void logOut()}>
        {t('Log out')}
      </DropdownItem>
    </MastheadMenu>
  );
}

/** Somewhere that the navigation leads to. */
interface Destination {
  to: string;
  label: () => string;
  /** How addresses of its pages begin. */
  starts: string;
  /** How its address names the project that was chosen last. */
  project?: 'query' | 'maps';
}

/** Where the navigation leads, grouped as OpenShift groups it. */
const PLACES: readonly { group: string | undefined; places: readonly Destination[] }[] = [
  { group: undefined, places: [{ to: '/overview', label: () => t('Overview'), starts: '/overview' }] },
  {
    group: 'Virtualization',
    places: [
      { to: '/machines', label: () => t('VirtualMachines'), starts: '/machines', project: 'query' },
      { to: '/images', label: () => t('Images and volumes'), starts: '/images' },
    ],
  },
  {
    group: 'Workloads',
    places: [
      { to: '/k8s/all-namespaces/configmaps', label: () => t('Config Maps'), starts: '/k8s/', project: 'maps' },
      { to: '/events', label: () => t('Events'), starts: '/events', project: 'query' },
    ],
  },
  { group: 'Compute', places: [{ to: '/nodes', label: () => t('Nodes'), starts: '/nodes' }] },
  { group: 'Administration', places: [{ to: '/settings', label: () => t('Settings'), starts: '/settings' }] },
];

function Side(): React.JSX.Element {
  const path = useLocation({ select: (location) => location.pathname });
  const chosen = useChosenProject();
  const item = ({ to, label, starts, project }: Destination): React.JSX.Element => (
    <NavItem key={to} isActive={path.startsWith(starts)}>
      <Link to={project === 'maps' ? mapsOf(chosen) : to} search={(project === 'query' && chosen !== null ? { project: chosen } : {}) as never}>{label()}</Link>
    </NavItem>
  );
  return (
    <PageSidebar>
      <PageSidebarBody>
        <Nav aria-label={t('Main')}>
          <NavList>
            {PLACES.map(({ group, places }) =>
              group === undefined ? (
                places.map(item)
              ) : (
                <NavExpandable key={group} title={t(group)} isExpanded isActive={places.some(({ starts }) => path.startsWith(starts))}>
                  {places.map(item)}
                </NavExpandable>
              ),
            )}
          </NavList>
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
}
