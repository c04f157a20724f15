//! The table itself: the fields of each type, by what becomes of them.

/// The fields of one Kubernetes type.
pub(in crate::manifest) struct TypeSupport {
    /// The type.
    pub(in crate::manifest) owner: &'static str,
    /// Fields that do what they say.
    pub(in crate::manifest) honoured: &'static [&'static str],
    /// Fields whose wish holds anyway, and why.
    pub(in crate::manifest) satisfied: &'static [(&'static str, &'static str)],
    /// Fields without effect, and why.
    pub(in crate::manifest) ignored: &'static [(&'static str, &'static str)],
    /// Fields that cannot be ignored, and why.
    pub(in crate::manifest) rejected: &'static [(&'static str, &'static str)],
}

const NONE: &[(&str, &str)] = &[];

const ONE_MACHINE: &str = "there is one machine, and the pod runs on it";
const NO_SERVER: &str = "there is no API server that keeps it";
const NO_USERS: &str = "a WebAssembly guest has no user, group or kernel to be kept from; it sees its mounts and nothing else";
const NO_NAMESPACES: &str = "a WebAssembly guest shares no namespace with its host";
const NO_DRIVER: &str = "wasmpod has no storage driver of this kind";
const NOT_YET: &str = "wasmpod does not do this yet";
const NO_PROBES: &str = "probes are not run yet";
const NO_DEVICES: &str = "wasmpod hands no devices to guests";

/// A type all of whose fields are honoured.
const fn all(owner: &'static str, honoured: &'static [&'static str]) -> TypeSupport {
    TypeSupport { owner, honoured, satisfied: NONE, ignored: NONE, rejected: NONE }
}

pub(super) static TYPES: &[TypeSupport] = &[
    TypeSupport {
        owner: "Pod",
        honoured: &["apiVersion", "kind", "metadata", "spec"],
        satisfied: NONE,
        ignored: &[("status", "the status is what wasmpod reports, not what it is told")],
        rejected: NONE,
    },
    TypeSupport {
        owner: "ObjectMeta",
        honoured: &["annotations", "labels", "name", "namespace", "uid"],
        satisfied: &[
            ("creationTimestamp", NO_SERVER),
            ("deletionGracePeriodSeconds", NO_SERVER),
            ("deletionTimestamp", NO_SERVER),
            ("finalizers", NO_SERVER),
            ("generation", NO_SERVER),
            ("managedFields", NO_SERVER),
            ("ownerReferences", NO_SERVER),
            ("resourceVersion", NO_SERVER),
            ("selfLink", NO_SERVER),
        ],
        ignored: &[("generateName", "wasmpod makes up no names; write metadata.name")],
        rejected: NONE,
    },
    TypeSupport {
        owner: "PodSpec",
        honoured: &[
            "activeDeadlineSeconds",
            "containers",
            "enableServiceLinks",
            "hostAliases",
            "hostname",
            "hostnameOverride",
            "initContainers",
            "os",
            "restartPolicy",
            "securityContext",
            "serviceAccount",
            "serviceAccountName",
            "subdomain",
            "terminationGracePeriodSeconds",
            "volumes",
        ],
        satisfied: &[
            ("hostUsers", NO_USERS),
            ("preemptionPolicy", ONE_MACHINE),
            ("priority", ONE_MACHINE),
            ("priorityClassName", ONE_MACHINE),
            ("runtimeClassName", "every container here is WebAssembly"),
            ("schedulerName", ONE_MACHINE),
            ("tolerations", ONE_MACHINE),
        ],
        ignored: &[
            ("affinity", ONE_MACHINE),
            ("automountServiceAccountToken", "there is no API server, and so no token for it"),
            ("dnsConfig", "names are looked up in the pod, then by the machine's own resolver"),
            ("dnsPolicy", "names are looked up in the pod, then by the machine's own resolver"),
            ("imagePullSecrets", "images are not pulled from registries yet"),
            ("nodeName", ONE_MACHINE),
            ("nodeSelector", ONE_MACHINE),
            ("overhead", "nothing is set aside for the runtime"),
            ("readinessGates", "conditions of others are not waited for yet"),
            ("resources", "limits of a whole pod are not held yet; those of its containers are"),
            ("setHostnameAsFQDN", "there is no cluster domain"),
            ("shareProcessNamespace", "WebAssembly guests have no processes that they could share"),
            ("topologySpreadConstraints", ONE_MACHINE),
            ("workloadRef", ONE_MACHINE),
        ],
        rejected: &[
            ("ephemeralContainers", "they can only be added to a running pod"),
            ("hostIPC", NO_NAMESPACES),
            ("hostNetwork", "a pod has a network of its own; publish ports with hostPort instead"),
            ("hostPID", NO_NAMESPACES),
            ("resourceClaims", NO_DEVICES),
            ("schedulingGates", "the pod asks not to be started until someone removes them, and here nobody does"),
        ],
    },
    TypeSupport {
        owner: "Container",
        honoured: &[
            "args",
            "command",
            "env",
            "envFrom",
            "image",
            "lifecycle",
            "name",
            "ports",
            "resources",
            "restartPolicy",
            "securityContext",
            "volumeMounts",
            "workingDir",
        ],
        satisfied: &[("imagePullPolicy", "images are read from where they lie")],
        ignored: &[
            ("livenessProbe", NO_PROBES),
            ("readinessProbe", NO_PROBES),
            ("resizePolicy", "a running container is not resized"),
            ("startupProbe", NO_PROBES),
            ("stdin", "standard input is empty"),
            ("stdinOnce", "standard input is empty"),
            ("terminationMessagePath", "termination messages are not read yet"),
            ("terminationMessagePolicy", "termination messages are not read yet"),
            ("tty", "there is no terminal in the container"),
        ],
        rejected: &[("restartPolicyRules", NOT_YET), ("volumeDevices", NO_DEVICES)],
    },
    TypeSupport {
        owner: "Lifecycle",
        honoured: &[],
        satisfied: NONE,
        ignored: &[
            ("preStop", "the container is stopped without it; hooks are not run yet"),
            ("stopSignal", "a guest that can learn of its stop learns of every stop alike"),
        ],
        rejected: &[("postStart", "the container would run without what it prepares; hooks are not run yet")],
    },
    TypeSupport {
        owner: "SecurityContext",
        honoured: &[],
        satisfied: &[
            ("allowPrivilegeEscalation", NO_USERS),
            ("appArmorProfile", NO_USERS),
            ("capabilities", NO_USERS),
            ("procMount", NO_USERS),
            ("runAsGroup", NO_USERS),
            ("runAsNonRoot", NO_USERS),
            ("runAsUser", NO_USERS),
            ("seLinuxOptions", NO_USERS),
            ("seccompProfile", NO_USERS),
        ],
        ignored: &[
            ("readOnlyRootFilesystem", "the files of the image are read-only in any case, a scratch directory in its place is not"),
            ("windowsOptions", NO_USERS),
        ],
        rejected: &[("privileged", "no guest ever gets the rights of its host")],
    },
    TypeSupport {
        owner: "PodSecurityContext",
        honoured: &[],
        satisfied: &[
            ("appArmorProfile", NO_USERS),
            ("fsGroup", NO_USERS),
            ("fsGroupChangePolicy", NO_USERS),
            ("runAsGroup", NO_USERS),
            ("runAsNonRoot", NO_USERS),
            ("runAsUser", NO_USERS),
            ("seLinuxChangePolicy", NO_USERS),
            ("seLinuxOptions", NO_USERS),
            ("seccompProfile", NO_USERS),
            ("supplementalGroups", NO_USERS),
            ("supplementalGroupsPolicy", NO_USERS),
        ],
        ignored: &[("sysctls", "the pod's network is no kernel's and has no such settings"), ("windowsOptions", NO_USERS)],
        rejected: NONE,
    },
    all("PodOS", &["name"]),
    all("HostAlias", &["hostnames", "ip"]),
    all("ContainerPort", &["containerPort", "hostIP", "hostPort", "name", "protocol"]),
    TypeSupport {
        owner: "ResourceRequirements",
        honoured: &["limits", "limits[memory]", "requests"],
        satisfied: NONE,
        ignored: &[
            ("limits[cpu]", "CPU limits are not held yet"),
            ("limits[ephemeral-storage]", "limits of local storage are not held yet; emptyDir.sizeLimit is"),
        ],
        rejected: &[("claims", NO_DEVICES)],
    },
    all("EnvVar", &["name", "value", "valueFrom"]),
    TypeSupport {
        owner: "EnvVarSource",
        honoured: &["configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"],
        satisfied: NONE,
        ignored: NONE,
        rejected: &[("fileKeyRef", NOT_YET)],
    },
    all("ConfigMapKeySelector", &["key", "name", "optional"]),
    all("SecretKeySelector", &["key", "name", "optional"]),
    all("ObjectFieldSelector", &["apiVersion", "fieldPath"]),
    all("ResourceFieldSelector", &["containerName", "divisor", "resource"]),
    all("EnvFromSource", &["configMapRef", "prefix", "secretRef"]),
    all("ConfigMapEnvSource", &["name", "optional"]),
    all("SecretEnvSource", &["name", "optional"]),
    TypeSupport {
        owner: "VolumeMount",
        honoured: &["mountPath", "name", "readOnly", "subPath", "subPathExpr"],
        satisfied: &[("recursiveReadOnly", "a read-only mount is read-only all the way down")],
        ignored: &[("mountPropagation", "guests cannot mount, and mounts of the machine are seen as they are")],
        rejected: NONE,
    },
    TypeSupport {
        owner: "Volume",
        honoured: &["configMap", "emptyDir", "hostPath", "name", "secret"],
        satisfied: NONE,
        ignored: NONE,
        rejected: &[
            ("awsElasticBlockStore", NO_DRIVER),
            ("azureDisk", NO_DRIVER),
            ("azureFile", NO_DRIVER),
            ("cephfs", NO_DRIVER),
            ("cinder", NO_DRIVER),
            ("csi", NO_DRIVER),
            ("downwardAPI", NOT_YET),
            ("ephemeral", NO_DRIVER),
            ("fc", NO_DRIVER),
            ("flexVolume", NO_DRIVER),
            ("flocker", NO_DRIVER),
            ("gcePersistentDisk", NO_DRIVER),
            ("gitRepo", NO_DRIVER),
            ("glusterfs", NO_DRIVER),
            ("image", NOT_YET),
            ("iscsi", NO_DRIVER),
            ("nfs", NO_DRIVER),
            ("persistentVolumeClaim", NOT_YET),
            ("photonPersistentDisk", NO_DRIVER),
            ("portworxVolume", NO_DRIVER),
            ("projected", NOT_YET),
            ("quobyte", NO_DRIVER),
            ("rbd", NO_DRIVER),
            ("scaleIO", NO_DRIVER),
            ("storageos", NO_DRIVER),
            ("vsphereVolume", NO_DRIVER),
        ],
    },
    all("ConfigMapVolumeSource", &["defaultMode", "items", "name", "optional"]),
    all("SecretVolumeSource", &["defaultMode", "items", "optional", "secretName"]),
    all("KeyToPath", &["key", "mode", "path"]),
    all("EmptyDirVolumeSource", &["medium", "sizeLimit"]),
    all("HostPathVolumeSource", &["path", "type"]),
];
