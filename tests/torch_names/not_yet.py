"""Names that are not there yet; `python -m tests.torch_names --write` makes the list anew."""

from __future__ import annotations

NOT_YET: dict[str, str] = {
    "": (
        "adaptive_max_pool1d addmv_ adjoint alpha_dropout alpha_dropout_ "
        "are_deterministic_algorithms_enabled bartlett_window binomial blackman_window celu_ "
        "corrcoef cosine_embedding_loss cov ctc_loss cumulative_trapezoid default_generator "
        "detach detach_ diff dropout_ empty_permuted empty_strided "
        "feature_alpha_dropout feature_alpha_dropout_ fill fill_ frexp frobenius_norm from_file "
        "gcd gcd_ get_default_device get_deterministic_debug_mode get_float32_matmul_precision "
        "get_num_threads gradient gru hamming_window hann_window hinge_embedding_loss histogram "
        "histogramdd i0 i0_ igamma igammac is_anomaly_check_nan_enabled "
        "is_anomaly_enabled is_deterministic_algorithms_warn_only_enabled is_same_size is_signed "
        "is_warn_always_enabled isin istft kaiser_window kl_div lcm lcm_ lobpcg lu_unpack "
        "margin_ranking_loss matrix_exp mode nextafter nonzero_static nuclear_norm "
        "poisson_nll_loss renorm rrelu rrelu_ selu_ set_anomaly_enabled set_default_device "
        "set_deterministic_debug_mode set_float32_matmul_precision set_num_threads "
        "set_warn_always stft threshold_ trapezoid trapz triplet_margin_loss "
        "use_deterministic_algorithms vander zero_ "
    ),
    "Tensor": (
        "addbmm_ addmm_ addmv_ addr_ baddbmm_ bernoulli char cholesky cholesky_inverse "
        "cholesky_solve corrcoef cov cross cumprod_ cumsum_ det diff fill_diagonal_ frexp gcd "
        "gcd_ hardshrink histogram i0 i0_ igamma igamma_ igammac igammac_ index inverse "
        "is_same_size istft lcm lcm_ logdet matrix_exp mode multinomial narrow_copy new "
        "new_empty_strided nextafter nextafter_ nonzero_static pinverse prelu qr renorm renorm_ "
        "short slogdet squeeze_ stft sum_to_size svd swapaxes_ swapdims_ t_ transpose_ tril_ "
        "triu_ unsqueeze_ "
    ),
    "nn": ("AdaptiveLogSoftmaxWithLoss Buffer LinearCrossEntropyOptions UninitializedBuffer "),
    "nn.utils": ("skip_init "),
    "optim": ("swap_in_optimizer_params_and_state "),
    "distributions": (
        "AbsTransform AffineTransform Binomial CatTransform Chi2 ComposeTransform "
        "ContinuousBernoulli CorrCholeskyTransform CumulativeDistributionTransform ExpTransform "
        "ExponentialFamily FisherSnedecor GeneralizedPareto HalfCauchy IndependentTransform "
        "InverseGamma Kumaraswamy LKJCholesky LogisticNormal LowRankMultivariateNormal "
        "LowerCholeskyTransform MixtureSameFamily Multinomial NegativeBinomial "
        "OneHotCategoricalStraightThrough Pareto PositiveDefiniteTransform PowerTransform "
        "RelaxedBernoulli RelaxedOneHotCategorical ReshapeTransform SigmoidTransform "
        "SoftmaxTransform SoftplusTransform StackTransform StickBreakingTransform StudentT "
        "TanhTransform Transform TransformedDistribution VonMises Weibull Wishart biject_to "
        "identity_transform transform_to "
    ),
    "func": ("rearrange "),
    "autograd": ("detect_anomaly set_detect_anomaly "),
    "linalg": (
        "LinAlgError householder_product ldl_factor ldl_factor_ex ldl_solve lu lu_factor "
        "lu_factor_ex lu_solve matrix_exp "
    ),
    "special": (
        "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 chebyshev_polynomial_t "
        "chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w erfcx gammainc "
        "gammaincc hermite_polynomial_h hermite_polynomial_he i0 i0e i1 i1e laguerre_polynomial_l "
        "legendre_polynomial_p log_ndtr modified_bessel_i0 modified_bessel_i1 modified_bessel_k0 "
        "modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 "
        "shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u "
        "shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w spherical_bessel_j0 zeta "
    ),
}
