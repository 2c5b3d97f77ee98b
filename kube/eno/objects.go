package eno

import (
	apiv1 "github.com/Azure/eno/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Synthesizer returns the Eno object that names the synthesizer program. Its
// input is deferred, so that a change never supersedes the synthesis under
// way: a turning knob would starve it otherwise.
func Synthesizer() *apiv1.Synthesizer {
	return &apiv1.Synthesizer{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiv1.SchemeGroupVersion.String(), Kind: "Synthesizer"},
		ObjectMeta: metav1.ObjectMeta{Name: SynthesizerName, Labels: map[string]string{ManagedByLabel: ManagedBy}},
		Spec: apiv1.SynthesizerSpec{
			Image:   SynthesizerImage,
			Command: []string{SynthesizerCommand},
			Refs: []apiv1.Ref{{
				Key:      InputKey,
				Resource: apiv1.ResourceRef{Version: "v1", Kind: "ConfigMap"},
				Defer:    true,
			}},
		},
	}
}

// Composition returns the Eno object that binds the topology ConfigMap of a
// namespace to the synthesizer.
func Composition(namespace string) *apiv1.Composition {
	return &apiv1.Composition{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiv1.SchemeGroupVersion.String(), Kind: "Composition"},
		ObjectMeta: metav1.ObjectMeta{Name: CompositionName, Namespace: namespace, Labels: map[string]string{ManagedByLabel: ManagedBy}},
		Spec: apiv1.CompositionSpec{
			Synthesizer: apiv1.SynthesizerRef{Name: SynthesizerName},
			Bindings: []apiv1.Binding{{
				Key:      InputKey,
				Resource: apiv1.ResourceBinding{Name: ConfigMapName, Namespace: namespace},
			}},
		},
	}
}
