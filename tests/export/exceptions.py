"""Cases of ONNX's backend tests that NVIDIA's parser accepts and that do not pass, each with its reason.

A pattern stands for itself or, with a `*`, for all that matches. What passes must not be listed.
"""

EXCEPTIONS: dict[str, list[str]] = {
    "ONNX Runtime gap: its CPU kernels do not cast to or from float4e2m1": [
        "test_cast_FLOAT4E2M1_to_*",
        "test_cast_FLOAT*_to_FLOAT4E2M1",
        "test_castlike_FLOAT4E2M1_to_*",
        "test_castlike_FLOAT*_to_FLOAT4E2M1*",
        "test_quantizelinear_float4e2m1",
    ],
    "TensorRT limitation: casts to FP8 always saturate": [
        "test_cast_no_saturate_FLOAT*_to_FLOAT8E4M3FN",
        "test_castlike_no_saturate_FLOAT*_to_FLOAT8E4M3FN*",
    ],
    "TensorRT's meaning: rounding up keeps a last window that starts in the padding, ONNX drops it": [
        "test_averagepool_2d_ceil_last_window_starts_on_pad",
        "test_maxpool_2d_ceil_output_size_reduce_by_one",
    ],
    "TensorRT's meaning: NMS orders by batch item and score, ONNX by batch item and class": [
        "test_nonmaxsuppression_two_classes",
    ],
    "Random numbers: the same distribution, not the same numbers": [
        "test_bernoulli_*",
    ],
    "Parser bug: Attention's nonpad_kv_seqlen is ignored": [
        "test_attention_4d_gqa_causal_nonpad_decode",
        "test_attention_4d_gqa_causal_nonpad_decode_fp16",
        "test_attention_4d_causal_nonpad_continued_prefill",
        "test_attention_4d_causal_nonpad_negative_offset_structural_empty",
        "test_attention_4d_causal_nonpad_batch_prefill",
    ],
    "Parser bug: Attention's windows are ignored": [
        "test_attention_local_window",
        "test_attention_bidirectional_window",
    ],
    "Parser bug: the batchwise layout of recurrent operators is ignored": [
        "test_gru_batchwise",
        "test_lstm_batchwise",
        "test_simple_rnn_batchwise",
    ],
    "Parser bug: Trilu without `upper` is taken as lower, ONNX's default is upper": [
        "test_triu",
        "test_triu_neg",
        "test_triu_one_row",
        "test_triu_out_neg_out",
        "test_triu_out_pos",
        "test_triu_pos",
        "test_triu_square",
        "test_triu_square_neg",
    ],
    "Parser bug: SpaceToDepth's mode is ignored": [
        "test_spacetodepth_crd_mode_example",
    ],
}
