"""Which function writes which layer type: the whole exporter at a glance."""

from collections.abc import Callable
from typing import Any, NamedTuple

from netdefs.export import (
    attention,
    control_flow,
    convolution,
    detection,
    fill,
    indexing,
    linear,
    normalization,
    pointwise,
    pooling,
    quantization,
    reduction,
    resampling,
    shape,
    slicing,
)
from netdefs.export.context import Context


class Entry(NamedTuple):
    """The TensorRT class that a layer type is cast to, and the function that writes it."""

    cls: str
    write: Callable[[Context, Any], None]


# By name: the numbers of trt.LayerType differ between versions, and older ones lack some.
LAYERS: dict[str, Entry] = {
    "ACTIVATION": Entry("IActivationLayer", pointwise.activation),
    "ASSERTION": Entry("IAssertionLayer", shape.assertion),
    "ATTENTION_INPUT": Entry("IAttentionInputLayer", attention.attention_input),
    "ATTENTION_OUTPUT": Entry("IAttentionOutputLayer", attention.attention_output),
    "CAST": Entry("ICastLayer", pointwise.cast),
    "CONCATENATION": Entry("IConcatenationLayer", shape.concatenation),
    "CONDITION": Entry("IConditionLayer", control_flow.boundary),
    "CONDITIONAL_INPUT": Entry("IIfConditionalInputLayer", control_flow.conditional_input),
    "CONDITIONAL_OUTPUT": Entry("IIfConditionalOutputLayer", control_flow.boundary),
    "CONSTANT": Entry("IConstantLayer", shape.constant),
    "CONVOLUTION": Entry("IConvolutionLayer", convolution.convolution),
    "CUMULATIVE": Entry("ICumulativeLayer", reduction.cumulative),
    "DECONVOLUTION": Entry("IDeconvolutionLayer", convolution.deconvolution),
    "DEQUANTIZE": Entry("IDequantizeLayer", quantization.dequantize),
    "DYNAMIC_QUANTIZE": Entry("IDynamicQuantizeLayer", quantization.dynamic_quantize),
    "EINSUM": Entry("IEinsumLayer", linear.einsum),
    "ELEMENTWISE": Entry("IElementWiseLayer", pointwise.elementwise),
    "FILL": Entry("IFillLayer", fill.fill),
    "GATHER": Entry("IGatherLayer", indexing.gather),
    "GRID_SAMPLE": Entry("IGridSampleLayer", resampling.grid_sample),
    "IDENTITY": Entry("IIdentityLayer", pointwise.identity),
    "ITERATOR": Entry("IIteratorLayer", control_flow.iterator),
    "KV_CACHE_UPDATE": Entry("IKVCacheUpdateLayer", indexing.kv_cache_update),
    "LOOP_OUTPUT": Entry("ILoopOutputLayer", control_flow.boundary),
    "LRN": Entry("ILRNLayer", normalization.lrn),
    "MATRIX_MULTIPLY": Entry("IMatrixMultiplyLayer", linear.matrix_multiply),
    "NMS": Entry("INMSLayer", detection.nms),
    "NON_ZERO": Entry("INonZeroLayer", indexing.non_zero),
    "NORMALIZATION": Entry("INormalizationLayer", normalization.normalization),
    "ONE_HOT": Entry("IOneHotLayer", indexing.one_hot),
    "PADDING": Entry("IPaddingLayer", slicing.padding),
    "PARAMETRIC_RELU": Entry("IParametricReLULayer", pointwise.parametric_relu),
    "POOLING": Entry("IPoolingLayer", pooling.pooling),
    "QUANTIZE": Entry("IQuantizeLayer", quantization.quantize),
    "RAGGED_SOFTMAX": Entry("IRaggedSoftMaxLayer", reduction.ragged_softmax),
    "RECURRENCE": Entry("IRecurrenceLayer", control_flow.boundary),
    "REDUCE": Entry("IReduceLayer", reduction.reduce),
    "RESIZE": Entry("IResizeLayer", resampling.resize),
    "REVERSE_SEQUENCE": Entry("IReverseSequenceLayer", indexing.reverse_sequence),
    "ROTARY_EMBEDDING": Entry("IRotaryEmbeddingLayer", attention.rotary_embedding),
    "SCALE": Entry("IScaleLayer", pointwise.scale),
    "SCATTER": Entry("IScatterLayer", indexing.scatter),
    "SELECT": Entry("ISelectLayer", pointwise.select),
    "SHAPE": Entry("IShapeLayer", shape.shape_of),
    "SHUFFLE": Entry("IShuffleLayer", shape.shuffle),
    "SLICE": Entry("ISliceLayer", slicing.slicing),
    "SOFTMAX": Entry("ISoftMaxLayer", reduction.softmax),
    "SQUEEZE": Entry("ISqueezeLayer", shape.squeeze),
    "TOPK": Entry("ITopKLayer", reduction.topk),
    "TRIP_LIMIT": Entry("ITripLimitLayer", control_flow.boundary),
    "UNARY": Entry("IUnaryLayer", pointwise.unary),
    "UNSQUEEZE": Entry("IUnsqueezeLayer", shape.unsqueeze),
}

# What stays out, and why.
LEFT_OUT: dict[str, str] = {
    "DIST_COLLECTIVE": "it exchanges data between GPUs, and ONNX knows one device.",
    "MOE": "ONNX has no operator that routes tokens to experts.",
    "PLUGIN": "what a plugin computes is in its code alone.",
    "PLUGIN_V2": "what a plugin computes is in its code alone.",
    "PLUGIN_V3": "what a plugin computes is in its code alone.",
}
