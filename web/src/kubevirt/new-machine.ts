import { stringify } from 'yaml';

import { quantity } from '../words/measures';
import { t } from '../words/words';
import type { VirtualMachine } from './machine';

/** What a person chooses for a new machine. */
export interface NewMachine {
  name: string;
  namespace: string;
  image: string;
  cores: number;
  memory: string;
  user: string;
  password: string;
  sshKey: string;
  hasNetwork: boolean;
  starts: boolean;
}

/** What the form begins with. */
export function blank(namespace: string, image: string): NewMachine {
  return { name: '', namespace, image, cores: 1, memory: '1Gi', user: '', password: '', sshKey: '', hasNetwork: true, starts: true };
}

/** Sizes on buttons. */
export const SIZES: readonly { name: string; cores: number; memory: string }[] = [
  { name: 'Tiny', cores: 1, memory: '256Mi' },
  { name: 'Small', cores: 1, memory: '1Gi' },
  { name: 'Medium', cores: 2, memory: '4Gi' },
  { name: 'Large', cores: 4, memory: '8Gi' },
];

/** What is wrong with each field; nothing, if the machine can be made. */
export function flawsOf(machine: NewMachine): Partial<Record<keyof NewMachine, string>> {
  const flaws: Partial<Record<keyof NewMachine, string>> = {};
  // RFC 1123 label, at most 63 letters: the name becomes the guest's host name.
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(machine.name)) flaws.name = t('Small letters, digits and hyphens, at most 63; it becomes the host name.');
  if (machine.image.trim() === '' || /\s/.test(machine.image.trim())) flaws.image = t('An image of a registry, e.g. quay.io/containerdisks/fedora:42.');
  if (!((quantity(machine.memory) ?? 0) > 0)) flaws.memory = t('An amount such as 512Mi or 2Gi.');
  if (!Number.isInteger(machine.cores) || machine.cores < 1) flaws.cores = t('At least one.');
  if (machine.sshKey.trim() !== '' && !/^(ssh-|ecdsa-|sk-)\S+ \S+/.test(machine.sshKey.trim())) flaws.sshKey = t('A public key as in ~/.ssh/id_ed25519.pub.');
  return flaws;
}

/** The cloud-init user data that lets somebody in; undefined if nothing was chosen. */
export function userData(machine: NewMachine): string | undefined {
  const { user, password, sshKey } = machine;
  if (user === '' && password === '' && sshKey.trim() === '') return undefined;
  const config = {
    ...(user === '' ? {} : { user }),
    ...(password === '' ? {} : { password, chpasswd: { expire: false }, ssh_pwauth: true }),
    ...(sshKey.trim() === '' ? {} : { ssh_authorized_keys: [sshKey.trim()] }),
  };
  return `#cloud-config\n${stringify(config, { lineWidth: 0 })}`;
}

/** The object that is made. */
export function manifestOf(machine: NewMachine): VirtualMachine {
  const data = userData(machine);
  const disk = (name: string): { name: string; disk: { bus: string } } => ({ name, disk: { bus: 'virtio' } });
  return {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name: machine.name, namespace: machine.namespace },
    spec: {
      runStrategy: machine.starts ? 'Always' : 'Halted',
      template: {
        spec: {
          domain: {
            cpu: { cores: machine.cores },
            memory: { guest: machine.memory },
            devices: {
              disks: [disk('root'), ...(data === undefined ? [] : [disk('cloudinit')])],
              ...(machine.hasNetwork ? { interfaces: [{ name: 'default', masquerade: {} }] } : {}),
            },
          },
          ...(machine.hasNetwork ? { networks: [{ name: 'default', pod: {} }] } : {}),
          volumes: [
            { name: 'root', containerDisk: { image: machine.image.trim() } },
            ...(data === undefined ? [] : [{ name: 'cloudinit', cloudInitNoCloud: { userData: data } }]),
          ],
        },
      },
    },
  };
}

/** Images that are published for KubeVirt, by what people call them. */
export const KNOWN_IMAGES: readonly { name: string; image: string; user: string }[] = [
  { name: 'Fedora', image: 'quay.io/containerdisks/fedora:42', user: 'fedora' },
  { name: 'Debian', image: 'quay.io/containerdisks/debian:12', user: 'debian' },
  { name: 'Ubuntu', image: 'quay.io/containerdisks/ubuntu:24.04', user: 'ubuntu' },
  { name: 'CentOS Stream', image: 'quay.io/containerdisks/centos-stream:10', user: 'cloud-user' },
  { name: 'Alpine (demo)', image: 'quay.io/kubevirt/alpine-container-disk-demo', user: '' },
];
